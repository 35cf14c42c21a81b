"""Pages for people: HTML made here, with one style sheet and two scripts, all of them our own or kept here.

Everything works with the keyboard, on a telephone and without the scripts, but for scrolling through images.
"""
