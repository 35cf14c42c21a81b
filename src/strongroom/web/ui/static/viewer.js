// The small viewer: shows what the server renders, frame by frame, with the window that is asked for.
// It sends nothing anywhere but here, and keeps nothing.
"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const stage = document.getElementById("stage");
  const picture = document.getElementById("frame");
  const slider = document.getElementById("slider");
  const position = document.getElementById("position");
  const windowShown = document.getElementById("window");
  const trouble = document.getElementById("trouble");
  const buttons = [...viewer.querySelectorAll("[data-series]")];
  const all = JSON.parse(document.getElementById("series-data").textContent);
  const root = `/dicomweb/studies/${viewer.dataset.study}/series`;
  const KEPT = 60; // pictures that were shown, or are about to be
  let frames = [], at = 0, series = null, initial = null, level = null;
  const kept = new Map();

  const address = (frame) => {
    const shown = level && level.isChanged ? `?window=${level.center},${level.width},linear` : "";
    return `${root}/${series.uid}/instances/${frame.instance}/frames/${frame.number}/rendered${shown}`;
  };

  function picked(url) {
    let image = kept.get(url);
    if (!image) {
      image = new Image();
      image.src = url;
    }
    kept.delete(url);
    kept.set(url, image); // the one that was used last goes last
    while (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return image;
  }

  async function show() {
    if (!frames.length) return;
    const url = address(frames[at]);
    slider.value = String(at + 1);
    position.value = `${at + 1} / ${frames.length}`;
    windowShown.value = level ? `W ${Math.round(level.width)}  L ${Math.round(level.center)}` : "";
    picture.alt = `Image ${at + 1} of ${frames.length}`;
    const image = picked(url);
    try {
      await image.decode();
    } catch {
      kept.delete(url);
      if (url === address(frames[at])) fail("This image cannot be shown here.");
      return;
    }
    if (url !== address(frames[at])) return; // somebody has gone on
    trouble.hidden = true;
    picture.src = url;
    for (const step of [1, -1, 2]) if (frames[at + step]) picked(address(frames[at + step]));
  }

  function fail(words) {
    picture.removeAttribute("src");
    trouble.textContent = words;
    trouble.hidden = false;
  }

  const first = (dataset, tag) => (dataset && dataset[tag] && dataset[tag].Value ? dataset[tag].Value[0] : undefined);
  const number = (dataset, tag) => {
    const value = first(dataset, tag);
    return value === undefined || value === null || !isFinite(value) ? null : Number(value);
  };

  // What is said of the first frame, be it in the functional groups of a multi-frame image (PS3.3 C.7.6.16).
  function ofFrame(dataset, sequence, tag) {
    const groups = [dataset, first(first(dataset, "52009230"), sequence), first(first(dataset, "52009229"), sequence)];
    for (const group of groups) {
      const value = number(group, tag);
      if (value !== null) return value;
    }
    return null;
  }

  async function windowOf(instance) {
    const path = `${root}/${series.uid}/instances/${instance}`;
    const answer = await fetch(`${path}/metadata`, { headers: { Accept: "application/dicom+json" } });
    if (!answer.ok) return null;
    const [dataset] = await answer.json();
    if (number(dataset, "00280002") !== 1) return null; // colours have no window
    const center = ofFrame(dataset, "00289132", "00281050"), width = ofFrame(dataset, "00289132", "00281051");
    if (center !== null && width >= 1) return { center, width, isChanged: false };
    const stored = await extremesOf(path, dataset);
    if (!stored) return null;
    const slope = ofFrame(dataset, "00289145", "00281053") || 1, offset = ofFrame(dataset, "00289145", "00281052") || 0;
    const [least, most] = stored.map((value) => value * slope + offset).sort((a, b) => a - b);
    return { center: least + (most - least + 1) / 2, width: most - least + 1, isChanged: false }; // PS3.3 C.11.2.1.2.1
  }

  // Without a window of its own, an image is shown from its least to its greatest value: which are they?
  async function extremesOf(path, dataset) {
    const bits = number(dataset, "00280100"), isSigned = number(dataset, "00280103") === 1;
    const kind = { 8: isSigned ? Int8Array : Uint8Array, 16: isSigned ? Int16Array : Uint16Array }[bits];
    if (!kind) return null;
    const accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1';
    const answer = await fetch(`${path}/frames/1`, { headers: { Accept: accept } });
    if (!answer.ok) return null;
    const body = new Uint8Array(await answer.arrayBuffer());
    const begin = body.findIndex((_, at) => at > 3 && body[at - 4] === 13 && body[at - 3] === 10 && body[at - 2] === 13 && body[at - 1] === 10);
    const bytes = number(dataset, "00280010") * number(dataset, "00280011") * (bits / 8);
    if (begin < 0 || begin + bytes > body.length) return null;
    const padding = number(dataset, "00280120"), limit = number(dataset, "00280121");
    const [low, high] = [padding, limit === null ? padding : limit].sort((a, b) => a - b);
    let least = Infinity, most = -Infinity;
    for (const value of new kind(body.slice(begin, begin + bytes).buffer)) {
      if (padding !== null && value >= low && value <= high) continue;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    return least > most ? null : [least, most];
  }

  async function open(index) {
    series = all[index];
    frames = series.images.flatMap(([instance, count]) => Array.from({ length: count }, (_, each) => ({ instance, number: each + 1 })));
    at = 0;
    initial = level = null;
    slider.max = String(Math.max(1, frames.length));
    slider.disabled = frames.length < 2;
    buttons.forEach((button, each) => button.setAttribute("aria-current", String(each === index)));
    const opened = series;
    show();
    const found = await windowOf(frames[0].instance).catch(() => null);
    if (opened !== series) return;
    initial = found;
    level = found && { ...found };
    show();
  }

  function go(to) {
    const wanted = Math.max(0, Math.min(frames.length - 1, to));
    if (wanted === at) return;
    at = wanted;
    show();
  }

  let isWaiting = false;
  function change(width, center) {
    if (!level) return;
    level = { width: Math.max(1, level.width + width), center: level.center + center, isChanged: true };
    if (isWaiting) return;
    isWaiting = true; // no more than one picture for each picture that is painted
    setTimeout(() => { isWaiting = false; show(); }, 60);
  }

  function startOver() {
    level = initial && { ...initial };
    show();
  }

  buttons.forEach((button, index) => button.addEventListener("click", () => open(index)));
  slider.addEventListener("input", () => go(Number(slider.value) - 1));
  document.getElementById("reset").addEventListener("click", startOver);
  let turned = 0;
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    const steps = Math.trunc(turned / 40);
    turned -= steps * 40;
    if (steps) go(at + Math.sign(steps) * Math.min(10, Math.abs(steps)));
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); stage.focus(); });
  stage.addEventListener("pointermove", (event) => {
    if (!stage.hasPointerCapture(event.pointerId)) return;
    const step = Math.max(1, (initial ? initial.width : 256) / 400);
    if (event.movementX || event.movementY) change(event.movementX * step, event.movementY * step);
  });
  const help = document.getElementById("help");
  const keys = {
    "?": () => { help.open = !help.open; },
    ArrowDown: () => go(at + 1), ArrowRight: () => go(at + 1), ArrowUp: () => go(at - 1), ArrowLeft: () => go(at - 1),
    Home: () => go(0), End: () => go(frames.length - 1), r: startOver, R: startOver,
    "+": () => change(-(level ? level.width / 10 : 0), 0), "-": () => change(level ? level.width / 10 : 0, 0),
    PageUp: () => change(0, -(level ? level.width / 20 : 0)), PageDown: () => change(0, level ? level.width / 20 : 0),
  };
  stage.addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.altKey || event.metaKey ? null : keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => navigator.clipboard && navigator.clipboard.writeText(button.dataset.copy));
  }
  const begin = all.findIndex((each) => each.images.length);
  if (begin >= 0) open(begin);
  else fail(all.length ? "No series of this study has images." : "This study has no series that you may see.");
})();
