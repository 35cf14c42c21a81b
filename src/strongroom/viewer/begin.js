// What OHIF's own page says in a script of its own: where its files lie. Code from elsewhere is not loaded.
"use strict";
(() => {
  window.PUBLIC_URL = "@PLACE@/";
  window.browserImportFunction = (name) => Promise.reject(new Error(`${name} is not part of this viewer`));
  console.time("scriptToView"); // OHIF ends it
  // Its components make style sheets of their own. Those that they make have the nonce of this page; what somebody
  // might get into the page as markup has not.
  const { nonce } = document.currentScript;
  const create = Document.prototype.createElement;
  Document.prototype.createElement = function createElement(name, options) {
    const made = create.call(this, name, options);
    if (made instanceof HTMLStyleElement) made.nonce = nonce;
    return made;
  };
})();
