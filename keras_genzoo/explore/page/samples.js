// Samples: images of draws, again and again, of a class, and all images between two of them.

import {classes, make, picture, section, slider} from './dom.js';
import {between, normal, scatter, show} from './pixels.js';
import {latest} from './runtime.js';

const N = 20, N_POINTS = 1000, N_BETWEEN = 8;

const endpointOf = (model) => (model.has('generate') ? 'generate' : 'decode');
export const applies = (model) => model.has('generate') || (model.has('decode') && model.samples);

export async function mount(root, model, page) {
  const endpoint = endpointOf(model), wanted = model.endpoints[endpoint].inputs;
  const name = 'z' in wanted ? 'z' : 'noise', size = wanted[name].shape[1];
  const isPoints = model.image_shape.reduce((a, b) => a * b) === 2;
  let seed = 0, codes = [], labels = [], ends = [0, 1];
  const chosen = classes(model, endpoint, 'sample-class', () => reroll(), {all: true});
  const run = async (code, label) =>
    (await model.run(endpoint, {[name]: code, ...(chosen ? {labels: [label]} : {})})).images;

  if (isPoints) {
    const cloud = picture('cloud', `${N_POINTS.toLocaleString('en')} samples, each a point of the plane`, 'Samples as points');
    const roll = latest(async () => {
      seed += 1;
      const points = [];
      for (let i = 0; i < N_POINTS; i++) points.push(await run(normal(size, seed * N_POINTS + i)));
      scatter(cloud.canvas, points);
      page.timed(model);
    });
    root.append(section('Samples', 'Each image of this model is a point: the data are modes in a plane.',
      make('div', {class: 'tools'}, make('button', {id: 'reroll', onclick: roll}, 'Roll again')), cloud.figure));
    return roll();
  }

  const tiles = Array.from({length: N}, (_, i) => {
    const canvas = make('canvas', {role: 'img', 'aria-label': `Sample ${i + 1}`});
    const mark = make('span', {class: 'mark', hidden: true});
    return {canvas, mark, button: make('button', {
      id: `sample-${i}`, 'aria-pressed': 'false', 'aria-label': `Sample ${i + 1}`, onclick: () => choose(i),
    }, canvas, mark)};
  });
  const middle = picture('between', 'Between the two that are marked A and B', 'Image between two samples');
  const path = slider('between-at', 'from A to B', {min: 0, max: 1, value: 0.5}, () => update());
  const strip = Array.from({length: N_BETWEEN}, (_, i) =>
    make('canvas', {class: 'small', role: 'img', 'aria-label': `Step ${i + 1} of ${N_BETWEEN} from A to B`}));

  async function at(t) {
    const [a, b] = ends;
    return run(between(codes[a], codes[b], t), labels[t < 0.5 ? a : b]);
  }
  const update = latest(async () => {
    show(middle.canvas, await at(Number(path.input.value)), model.image_shape);
    page.timed(model);
  });
  const drawStrip = latest(async () => {
    for (const [i, canvas] of strip.entries()) show(canvas, await at(i / (N_BETWEEN - 1)), model.image_shape);
  });
  function choose(i) {
    ends = [ends[1], i];
    mark();
    return Promise.all([update(), drawStrip()]);
  }
  function mark() {
    tiles.forEach(({button, mark: label}, i) => {
      const letters = ['A', 'B'].filter((_, k) => ends[k] === i).join('');
      label.textContent = letters;
      label.hidden = !letters;
      button.setAttribute('aria-pressed', String(Boolean(letters)));
      button.setAttribute('aria-label', `Sample ${i + 1}${letters ? `, marked ${letters}` : ''}`);
    });
  }
  const reroll = latest(async () => {
    seed += 1;
    codes = Array.from({length: N}, (_, i) => normal(size, seed * N + i));
    const n = chosen ? wanted.labels.labels.length : 1;
    labels = codes.map((_, i) => (chosen && chosen.value >= 0 ? chosen.value : i % n));
    for (const [i, {canvas}] of tiles.entries()) show(canvas, await run(codes[i], labels[i]), model.image_shape, codes[i]);
    mark();
    await update();
    await drawStrip();
  });
  root.append(section(
    'Samples', 'Images that nobody has drawn. Choose two of them, and walk from one to the other.',
    make('div', {class: 'tools'}, make('button', {id: 'reroll', onclick: reroll}, 'Roll again'), chosen?.element ?? null),
    make('div', {class: 'row'}, make('div', {class: 'grid'}, ...tiles.map(({button}) => button)),
      make('div', {}, middle.figure, path.element)),
    make('div', {class: 'strip'}, ...strip)));
  await reroll();
}
