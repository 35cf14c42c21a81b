"use strict";
// What pages of administrators do with a click: copy a value, and put a file into the field that it is for.
(() => {
  const say = (button, words) => {
    const before = button.textContent;
    button.textContent = words;
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => {
      if (!navigator.clipboard) return;
      navigator.clipboard.writeText(button.dataset.copy).then(() => say(button, "Copied"), () => say(button, "Not copied"));
    });
  }
  for (const picker of document.querySelectorAll("[data-into]")) {
    picker.addEventListener("change", async () => {
      const file = picker.files[0];
      if (file && file.size < 12000) picker.form.elements[picker.dataset.into].value = await file.text();
    });
  }
})();
