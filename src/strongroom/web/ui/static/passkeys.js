// A form with data-passkey asks for a passkey when it is sent: what to ask comes from the archive, the answer goes back
// with the form. Nothing is kept here.
"use strict";

const CANCELLED = "Nothing was shown. Try again, or sign in another way.";
const KNOWN = "This one is set up already.";
const FAILED = "That did not work. Load the page again, and try once more.";
const WORDS = { NotAllowedError: CANCELLED, AbortError: CANCELLED, InvalidStateError: KNOWN };

function bytes(text) {
  const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(plain, (each) => each.charCodeAt(0));
}

function text(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

const listed = (known) => (known || []).map((each) => ({ ...each, id: bytes(each.id) }));

async function asked(purpose) {
  const answer = await fetch("/passkey/options", {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ purpose }),
  });
  if (!answer.ok) {
    location.reload(); // signed out, or too long ago: the page says what to do
    return null;
  }
  return answer.json();
}

async function shown(purpose) {
  const options = await asked(purpose);
  if (options === null) return null;
  options.challenge = bytes(options.challenge);
  if (purpose === "add") {
    options.user.id = bytes(options.user.id);
    options.excludeCredentials = listed(options.excludeCredentials);
    return navigator.credentials.create({ publicKey: options });
  }
  options.allowCredentials = listed(options.allowCredentials);
  return navigator.credentials.get({ publicKey: options });
}

function told(found) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (found.response[name]) response[name] = text(found.response[name]);
  }
  return JSON.stringify({ id: found.id, rawId: text(found.rawId), type: found.type, response });
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  const button = form.querySelector("button");
  const trouble = form.querySelector("[role=alert]");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    trouble.hidden = true;
    try {
      const found = await shown(form.dataset.passkey);
      if (found === null) return;
      form.elements.answer.value = told(found);
      form.submit();
    } catch (error) {
      trouble.textContent = WORDS[error.name] || FAILED;
      trouble.hidden = false;
      button.disabled = false;
    }
  });
}
