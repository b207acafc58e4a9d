// Draw: a grey image by mouse, finger or keyboard, reconstructed, denoised and classified while it is drawn.

import {make, picture, section, slider} from './dom.js';
import {centred, normal, show} from './pixels.js';
import {latest} from './runtime.js';

const BRUSH = 1.5;  // pixels from the middle of a stroke to its border

export const applies = (model) =>
  model.image_shape[2] === 1 && model.image_shape[0] === model.image_shape[1] && model.image_shape[0] >= 16
  && (model.has('reconstruct') || model.has('classify')) && !('labels' in (model.endpoints.reconstruct?.inputs ?? {}));

export async function mount(root, model, page) {
  const shape = model.image_shape, [side] = shape;
  const judge = model.has('classify') ? model : page.models.find(
    (other) => other.has('classify') && String(other.image_shape) === String(shape) && other.data === model.data);
  const ink = new Float32Array(side * side);
  const cursor = {y: side / 2, x: side / 2, seen: false};
  let noise = 0, seed = 1, asExample = false, example = -1;

  const drawing = make('canvas', {
    id: 'drawing', class: 'large active', tabindex: 0, role: 'application',
    'aria-label': 'Drawing. Arrow keys move the pen, Shift with an arrow draws, Space puts a dot, Delete clears.',
  });
  const title = make('figcaption');
  const seen = picture('seen', 'What the model gets', 'Your drawing as the model gets it');
  const result = model.has('reconstruct') ? picture('reconstruction', `What ${model.name} makes of it`, 'Reconstruction') : null;
  const bars = judge ? make('div', {class: 'bars', id: 'bars'}) : null;
  const centre = make('input', {type: 'checkbox', id: 'centre', checked: true, onchange: () => update()});
  const level = model.noise
    ? slider('noise', 'noise, standard deviation', {min: 0, max: model.noise.most, value: model.noise.level}, (value) => { noise = value; update(); })
    : null;
  if (level) noise = model.noise.level;

  const update = latest(async () => {
    draw();
    let input = asExample || !centre.checked ? ink.slice() : centred(ink, side);
    if (noise > 0) {
      const draws = normal(side * side, seed);
      input = input.map((value, i) => Math.min(1, Math.max(0, value + noise * draws[i])));
    }
    show(seen.canvas, input, shape);
    if (result) show(result.canvas, (await model.run('reconstruct', {images: input})).images, shape);
    if (judge) {
      const {logits} = await judge.run('classify', {images: result ? result.canvas.pixels : input});
      classify(logits);
    }
    page.timed(model);
  });

  function classify(logits) {
    const top = Math.max(...logits), powers = [...logits].map((logit) => Math.exp(logit - top));
    const total = powers.reduce((a, b) => a + b), names = judge.endpoints.classify.outputs.logits.labels;
    const best = powers.indexOf(Math.max(...powers));
    bars.replaceChildren(...powers.flatMap((power, i) => {
      const share = (100 * power) / total;
      return [
        make('span', {class: i === best ? 'best' : ''}, names[i]),
        make('span', {class: 'bar'}, make('i', {style: `width: ${share}%`})),
        make('output', {class: i === best ? 'best' : ''}, `${share.toFixed(0)} %`),
      ];
    }));
    bars.best = names[best];
    if (result) result.canvas.setAttribute('aria-label', `Reconstruction, which ${judge.name} reads as ${names[best]}`);
  }

  function draw() {
    title.textContent = asExample ? 'A test image' : 'Your drawing';
    show(drawing, ink, [side, side, 1]);
    if (document.activeElement === drawing && cursor.seen) {
      const context = drawing.getContext('2d');
      context.fillStyle = 'rgba(86, 180, 233, .9)';
      context.fillRect(Math.floor(cursor.x), Math.floor(cursor.y), 1, 1);
    }
  }

  function dot(y, x) {
    if (asExample) clear();
    for (let j = Math.max(0, Math.floor(y - BRUSH - 1)); j <= Math.min(side - 1, y + BRUSH + 1); j++) {
      for (let i = Math.max(0, Math.floor(x - BRUSH - 1)); i <= Math.min(side - 1, x + BRUSH + 1); i++) {
        const distance = Math.hypot(j + 0.5 - y, i + 0.5 - x);
        ink[side * j + i] = Math.max(ink[side * j + i], Math.min(1, BRUSH + 0.5 - distance));
      }
    }
  }

  function line(from, to) {
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(to.y - from.y, to.x - from.x)));
    for (let i = 0; i <= steps; i++) dot(from.y + ((to.y - from.y) * i) / steps, from.x + ((to.x - from.x) * i) / steps);
  }

  function clear() {
    ink.fill(0);
    asExample = false;
  }

  const place = (event) => {
    const box = drawing.getBoundingClientRect();
    return {y: ((event.clientY - box.top) / box.height) * side, x: ((event.clientX - box.left) / box.width) * side};
  };
  let last = null;
  drawing.addEventListener('pointerdown', (event) => {
    drawing.setPointerCapture(event.pointerId);
    cursor.seen = false;
    last = place(event);
    dot(last.y, last.x);
    update();
  });
  drawing.addEventListener('pointermove', (event) => {
    if (!last) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const next = place(one);
      line(last, next);
      last = next;
    }
    update();
  });
  for (const name of ['pointerup', 'pointercancel']) drawing.addEventListener(name, () => { last = null; });
  drawing.addEventListener('keydown', (event) => {
    const move = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    cursor.seen = true;
    if (move) {
      const before = {...cursor};
      cursor.y = Math.min(side - 0.5, Math.max(0.5, cursor.y + move[0]));
      cursor.x = Math.min(side - 0.5, Math.max(0.5, cursor.x + move[1]));
      if (event.shiftKey) line(before, cursor);
    } else if (event.key === ' ') dot(cursor.y, cursor.x);
    else if (event.key === 'Delete' || event.key === 'Backspace') clear();
    else return;
    event.preventDefault();
    update();
  });
  drawing.addEventListener('blur', () => draw());

  async function another() {
    const data = await model.loadExamples();
    if (!data) return;
    example = (example + 1) % data.images.length;
    ink.set(data.images[example]);
    asExample = true;
    await update();
  }

  const heading = model.noise ? 'Draw, and let it be cleaned' : result ? 'Draw, and see it come back' : 'Draw, and have it read';
  root.append(section(
    heading, 'Draw with a mouse, a finger or the arrow keys. The model answers with every stroke.',
    make('div', {class: 'tools'},
      make('button', {id: 'clear', onclick: () => { clear(); update(); }}, 'Clear'),
      model.examples ? make('button', {id: 'example', onclick: another}, 'A test image') : null,
      make('label', {for: 'centre', class: 'control'}, centre, ' size and centre as the data has them')),
    level ? make('div', {class: 'tools'}, level.element,
      make('button', {id: 'renoise', onclick: () => { seed += 1; update(); }}, 'Other noise')) : null,
    make('div', {class: 'row'},
      make('figure', {}, drawing, title), seen.figure, result?.figure ?? null, bars)));
  if (model.examples) await another();
  else await update();
}
