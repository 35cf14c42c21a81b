// Sends files one by one as STOW-RS has it, a few at a time, and says what became of each.
// Names of files are shown here and sent nowhere.
"use strict";
(() => {
  const { words, to, maxBytes } = JSON.parse(document.getElementById("words").textContent);
  const [drop, progress, total, summary, cancel, again, trouble, rows, unlisted] =
    ["drop", "progress", "total", "summary", "cancel", "again", "trouble", "uploads", "unlisted"].map((id) => document.getElementById(id));
  const AT_ONCE = 3;
  const MAX_FILES = 20000;
  const MAX_DEPTH = 32;
  const LISTED = 200; // files that are simply stored; what somebody should look at stays in the list
  const PASSED_OVER = /^(dicomdir|thumbs\.db|desktop\.ini|\..*)$/i;
  const waiting = [], underWay = new Set(), retriable = [], plain = [];
  const counts = { stored: 0, already: 0, held: 0, failed: 0, passed: 0, cancelled: 0 };
  let bytes = 0, doneBytes = 0, files = 0, isOver = false, unlistedCount = 0, painted = 0;

  const size = (count) => count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} kB` : `${(count / 1e6).toFixed(1)} MB`;

  function rowOf(item) {
    if (item.row) return item.row;
    const row = document.createElement("tr");
    for (const text of [item.name, size(item.file.size), ""]) {
      const cell = document.createElement("td");
      const isolated = document.createElement("bdi");
      isolated.textContent = text;
      cell.append(isolated);
      row.append(cell);
    }
    rows.prepend(row);
    item.row = row;
    return row;
  }

  function say(item, kind, text) {
    const row = rowOf(item);
    row.className = kind;
    row.lastChild.replaceChildren(text);
    if (kind !== "stored" && kind !== "already") return;
    plain.push(item);
    if (plain.length > LISTED) {
      plain.shift().row.remove();
      unlistedCount += 1;
    }
  }

  function count() {
    const ended = Object.values(counts).reduce((sum, each) => sum + each, 0);
    const sending = [...underWay].reduce((sum, item) => sum + item.sent, 0);
    total.max = Math.max(1, bytes);
    total.value = Math.min(bytes, doneBytes + sending);
    const parts = [`${ended} of ${files} file${files === 1 ? "" : "s"}`, `${size(total.value)} of ${size(bytes)}`];
    const named = { stored: "stored", already: "already there", held: "in quarantine", failed: "not stored", passed: "passed over", cancelled: "cancelled" };
    for (const [kind, label] of Object.entries(named)) if (counts[kind]) parts.push(`${counts[kind]} ${label}`);
    const text = (ended === files ? "Done: " : "") + parts.join(", ") + ".";
    // Somebody who listens is told once a second at most, and the end in any case.
    if (ended === files || Date.now() - painted > 1000) { summary.textContent = text; painted = Date.now(); }
    cancel.hidden = ended === files;
    again.hidden = ended !== files || !retriable.length;
    unlisted.hidden = !unlistedCount;
    unlisted.textContent = `${unlistedCount} more that are stored are not listed.`;
  }

  function finish(item, kind, text, isRetriable) {
    underWay.delete(item);
    counts[kind] += 1;
    doneBytes += item.file.size;
    if (isRetriable) { item.kind = kind; retriable.push(item); }
    say(item, kind, text);
    count();
    next();
  }

  const first = (dataset, tag) => dataset && dataset[tag] && dataset[tag].Value && dataset[tag].Value[0];

  function judged(item, request) {
    if (request.status === 401 || request.status === 403) return stop(item, request.status);
    let answer = null;
    try { answer = JSON.parse(request.responseText); } catch { /* no data set: what follows says so */ }
    const stored = first(answer, "00081199");
    if (stored) {
      const verdict = first(stored, "00091003") || "stored";
      const isNew = verdict === "stored" || verdict === "unverified" || verdict === "restored";
      return finish(item, isNew ? "stored" : "already", words.stored[verdict] || words.stored.stored);
    }
    const failed = first(answer, "00081198") || first(answer, "0008119A");
    if (failed) {
      const reason = first(failed, "00091001") || "", held = first(failed, "00091002");
      const what = words.refused[reason] || words.otherwise;
      if (held) return finish(item, "held", `${words.held} as ${held}. ${what}`);
      return finish(item, "failed", `${words.notStored}: ${what}`, reason === "StorageUnavailable" || reason === "incomplete");
    }
    const isBusy = request.status === 503 || request.status === 429 || request.status === 408;
    const why = isBusy ? "The archive is busy. Try again later." : request.status === 413 ? "It is larger than what is taken." : words.otherwise;
    finish(item, "failed", `${words.notStored}: ${why}`, isBusy);
  }

  function stop(item, status) {
    const why = status === 401 ? "You are not signed in any more." : "You may not store.";
    trouble.textContent = `${why} Nothing more is sent.`;
    trouble.hidden = false;
    finish(item, "failed", `${words.notStored}: ${why}`, status === 401);
    cancelAll();
  }

  function send(item) {
    underWay.add(item);
    item.sent = 0;
    const request = item.request = new XMLHttpRequest();
    const bar = document.createElement("progress");
    bar.max = Math.max(1, item.file.size);
    bar.value = 0;
    bar.setAttribute("aria-label", `Sending ${item.name}`);
    rowOf(item).className = "sending";
    item.row.lastChild.replaceChildren(bar);
    request.upload.addEventListener("progress", (event) => {
      bar.value = item.sent = Math.min(event.loaded, item.file.size);
      count();
    });
    request.addEventListener("load", () => judged(item, request));
    request.addEventListener("error", () => finish(item, "failed", `${words.notStored}: the connection broke, or the file cannot be read.`, true));
    request.addEventListener("abort", () => finish(item, "cancelled", "Cancelled; it may have been stored in the last moment."));
    request.open("POST", to);
    request.setRequestHeader("Content-Type", "application/dicom");
    request.setRequestHeader("Accept", "application/dicom+json");
    request.send(item.file);
  }

  function next() {
    while (!isOver && waiting.length && underWay.size < AT_ONCE) send(waiting.shift());
  }

  function cancelAll() {
    isOver = true;
    for (const item of waiting.splice(0)) {
      counts.cancelled += 1;
      doneBytes += item.file.size;
      say(item, "cancelled", "Cancelled before it was sent.");
    }
    for (const item of [...underWay]) item.request.abort();
    count();
  }

  function passOver(item, why) {
    counts.passed += 1;
    doneBytes += item.file.size;
    say(item, "passed", why);
  }

  function add(found) {
    if (!found.length) return;
    isOver = false;
    progress.hidden = trouble.hidden = false;
    trouble.hidden = true;
    for (const [name, file] of found) {
      if (files >= MAX_FILES) {
        trouble.textContent = `Only the first ${MAX_FILES} files are taken at a time.`;
        trouble.hidden = false;
        break;
      }
      const item = { name, file, sent: 0 };
      files += 1;
      bytes += file.size;
      const last = name.split("/").pop();
      if (PASSED_OVER.test(last)) passOver(item, "Passed over: it holds no image.");
      else if (/\.zip$/i.test(last)) passOver(item, "Passed over: unpack it first, then choose the folder.");
      else if (!file.size) passOver(item, "Passed over: it is empty.");
      else if (file.size > maxBytes) passOver(item, "Passed over: it is larger than what is taken.");
      else waiting.push(item);
    }
    count();
    next();
  }

  // -- what is dropped: folders are walked, which the browser does a hundred entries at a time

  async function walk(entry, path, found, depth) {
    if (found.length >= MAX_FILES + 1 || depth > MAX_DEPTH) return;
    if (entry.isFile) {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (file) found.push([path + entry.name, file]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!some.length) return;
      for (const each of some) await walk(each, `${path}${entry.name}/`, found, depth + 1);
    }
  }

  async function dropped(transfer) {
    const entries = [...transfer.items].map((each) => each.webkitGetAsEntry && each.webkitGetAsEntry()).filter(Boolean);
    if (!entries.length) return add([...transfer.files].map((file) => [file.name, file]));
    const found = [];
    for (const entry of entries) await walk(entry, "", found, 0);
    add(found);
  }

  for (const id of ["files", "folder"]) {
    document.getElementById(id).addEventListener("change", (event) => {
      add([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file]));
      event.target.value = "";
    });
  }
  for (const kind of ["dragenter", "dragover"]) {
    window.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) window.addEventListener(kind, () => drop.classList.remove("over"));
  window.addEventListener("drop", (event) => { event.preventDefault(); dropped(event.dataTransfer); });
  cancel.addEventListener("click", cancelAll);
  again.addEventListener("click", () => {
    isOver = false;
    trouble.hidden = true;
    for (const item of retriable.splice(0)) {
      counts[item.kind] -= 1;
      doneBytes -= item.file.size;
      waiting.push(item);
    }
    count();
    next();
  });
  window.addEventListener("beforeunload", (event) => { if (underWay.size || waiting.length) event.preventDefault(); });
})();
