// Pictures: one that is dropped or chosen goes through every endpoint from images to images.

import {make, picture, section} from './dom.js';
import {fromFile, show} from './pixels.js';
import {latest} from './runtime.js';

const endpointsOf = (model) => Object.keys(model.endpoints).filter((name) => {
  const {inputs, outputs} = model.endpoints[name];
  return Object.keys(inputs).join() === 'images' && 'images' in outputs;
});
export const applies = (model) => model.image_shape[2] === 3 && endpointsOf(model).length > 0;

export async function mount(root, model, page) {
  const shape = model.image_shape, names = endpointsOf(model);
  let image = null, example = -1;
  const source = picture('source', 'The picture, cut to its middle', 'Your picture');
  const results = names.map((name) => [name, picture(`picture-${name}`, name.replaceAll('_', ' '), `Picture after ${name.replaceAll('_', ' ')}`)]);
  const update = latest(async () => {
    if (!image) return;
    show(source.canvas, image, shape);
    for (const [name, {canvas}] of results) show(canvas, (await model.run(name, {images: image})).images, shape);
    page.timed(model);
  });
  async function read(file) {
    try {
      image = await fromFile(file, shape);
    } catch {
      page.complain(`${file.name} is no picture that this browser reads`);
      return;
    }
    await update();
  }
  const drop = make('div', {
    class: 'drop', id: 'drop',
    ondragover: (event) => { event.preventDefault(); drop.classList.add('over'); },
    ondragleave: () => drop.classList.remove('over'),
    ondrop: (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
    },
  });
  const input = make('input', {type: 'file', id: 'file', accept: 'image/*', onchange: () => input.files[0] && read(input.files[0])});
  async function another() {
    const data = await model.loadExamples();
    example = (example + 1) % data.images.length;
    image = data.images[example];
    await update();
  }
  drop.append(
    make('div', {class: 'tools'},
      make('label', {class: 'file'}, 'Choose a picture', input),
      model.examples ? make('button', {id: 'example-picture', onclick: another}, 'A test picture') : null,
      'or drop one here'),
    make('div', {class: 'row'}, source.figure, ...results.map(([, {figure}]) => figure)));
  root.append(section('Your picture', `It is cut to ${shape[1]} x ${shape[0]} pixels` +
    `${names.some((name) => name.startsWith('swap')) ? '; best is a face from ear to ear' : ''}. It stays in this browser.`, drop));
  if (model.examples) await another();
}
