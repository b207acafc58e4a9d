// Latents: a slider for each number of the code that moves the image, over the range that real images take.

import {classes, make, picture, section, slider} from './dom.js';
import {normal, show} from './pixels.js';
import {latest} from './runtime.js';

const MOST = 16;  // sliders

export const applies = (model) => model.has('decode') && Boolean(model.latents) && model.latents.mean.length > 2;

export async function mount(root, model, page) {
  const {mean, low, high, spread, order} = model.latents;
  const code = Float32Array.from(mean), sliders = [];
  let seed = 1;
  const result = picture('decoded', 'The image of this code', 'Image of the code');
  const chosen = classes(model, 'decode', 'decode-class', () => update());

  const update = latest(async () => {
    const inputs = {z: code, ...(chosen ? {labels: [chosen.value]} : {})};
    show(result.canvas, (await model.run('decode', inputs)).images, model.image_shape, code);
    page.timed(model);
  });
  const take = (values) => {
    code.set(values);
    for (const [i, one] of sliders) one.set(code[i]);
    update();
  };
  for (const i of order.slice(0, MOST)) {
    const one = slider(`z-${i}`, `z ${i}`, {min: low[i], max: high[i], value: code[i]}, (value) => {
      code[i] = value;
      update();
    });
    sliders.push([i, one]);
  }
  const random = () => {
    const draws = normal(code.length, seed++);
    take(code.map((_, i) => mean[i] + spread[i] * draws[i]));
  };
  const data = model.has('encode') ? await model.loadExamples() : null;
  let example = -1;
  async function encode() {
    example = (example + 1) % data.images.length;
    if (chosen && data.labels) chosen.element.querySelector('select').value = data.labels[example];
    const inputs = {images: data.images[example], ...(chosen ? {labels: [chosen.value]} : {})};
    const found = await model.run('encode', inputs);
    take(found.z_mean ?? found.z);
  }
  root.append(section(
    'Move the code', `The image is made of ${code.length} numbers. ` + (code.length > MOST
      ? `These ${MOST} differ most between images; each slider spans what 95 % of real images have.`
      : 'Each slider spans what 95 % of real images have; those that differ most come first.'),
    make('div', {class: 'tools'},
      make('button', {id: 'random-code', onclick: random}, 'Random'),
      make('button', {id: 'mean-code', onclick: () => take(mean)}, 'Average'),
      data ? make('button', {id: 'encode', onclick: encode}, 'Code of a test image') : null,
      chosen?.element ?? null),
    make('div', {class: 'row'}, result.figure, make('div', {class: 'sliders'}, ...sliders.map(([, one]) => one.element)))));
  await update();
}
