// Plane: a code of two numbers is a point; every point is an image.

import {classes as chooser, make, picture, section} from './dom.js';
import {show} from './pixels.js';
import {latest} from './runtime.js';

const TILES = 14, SIDE = 336;
// Okabe and Ito's colours, and two more, for ten classes.
const COLOURS = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#ffffff', '#999999', '#8f6bd6'];

export const applies = (model) => model.has('decode') && model.latents?.mean.length === 2;

export async function mount(root, model, page) {
  const {low, high, points, classes} = model.latents;
  const point = [0, 0];
  const map = make('canvas', {
    id: 'plane', class: 'active', tabindex: 0, role: 'application', width: SIDE, height: SIDE, style: 'width: 21rem',
    'aria-label': 'Plane of codes. Arrow keys move the point.',
  });
  const result = picture('plane-image', 'The image of this point', 'Image of the point');
  const shown = make('output', {id: 'plane-point'});
  const chosen = chooser(model, 'decode', 'plane-class', () => Promise.all([update(), tile()]));
  const labelled = (z) => ({z, ...(chosen ? {labels: [chosen.value]} : {})});
  const withDots = make('input', {type: 'checkbox', id: 'dots', checked: true, onchange: () => draw()});
  const behind = document.createElement('canvas');
  behind.width = behind.height = SIDE;
  const across = (z, i) => (z - low[i]) / (high[i] - low[i]);

  function draw() {
    const context = map.getContext('2d');
    context.fillStyle = '#000';
    context.fillRect(0, 0, SIDE, SIDE);
    context.drawImage(behind, 0, 0);
    if (withDots.checked) {
      points.forEach(([a, b], k) => {
        context.fillStyle = classes ? COLOURS[classes[k] % COLOURS.length] : COLOURS[1];
        context.fillRect(across(a, 0) * SIDE - 1.5, (1 - across(b, 1)) * SIDE - 1.5, 3, 3);
      });
    }
    const [x, y] = [across(point[0], 0) * SIDE, (1 - across(point[1], 1)) * SIDE];
    for (const [colour, width] of [['#000', 4], ['#fff', 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  const update = latest(async () => {
    show(result.canvas, (await model.run('decode', labelled(point))).images, model.image_shape, point);
    shown.textContent = `(${point[0].toFixed(2)}, ${point[1].toFixed(2)})`;
    draw();
    page.timed(model);
  });
  // The images of a grid of points, dimmed, behind the dots.
  const tile = latest(async () => {
    const one = document.createElement('canvas'), size = SIDE / TILES, context = behind.getContext('2d');
    context.globalAlpha = 1;
    context.fillStyle = '#000';
    for (let j = 0; j < TILES; j++) {
      for (let i = 0; i < TILES; i++) {
        if (!map.isConnected) return;
        const z = [low[0] + ((i + 0.5) / TILES) * (high[0] - low[0]), high[1] - ((j + 0.5) / TILES) * (high[1] - low[1])];
        show(one, (await model.run('decode', labelled(z))).images, model.image_shape);
        context.globalAlpha = 1;
        context.fillRect(i * size, j * size, size, size);
        context.globalAlpha = 0.55;
        context.drawImage(one, i * size, j * size, size, size);
      }
      draw();
    }
  });
  const move = (a, b) => {
    point[0] = Math.min(high[0], Math.max(low[0], a));
    point[1] = Math.min(high[1], Math.max(low[1], b));
    return update();
  };
  const follow = (event) => {
    const box = map.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
    move(low[0] + x * (high[0] - low[0]), low[1] + y * (high[1] - low[1]));
  };
  let isDown = false;
  map.addEventListener('pointerdown', (event) => {
    map.setPointerCapture(event.pointerId);
    isDown = true;
    follow(event);
  });
  map.addEventListener('pointermove', (event) => { if (isDown) follow(event); });
  for (const name of ['pointerup', 'pointercancel']) map.addEventListener(name, () => { isDown = false; });
  map.addEventListener('keydown', (event) => {
    const step = {ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]}[event.key];
    if (!step) return;
    event.preventDefault();
    move(point[0] + (step[0] * (high[0] - low[0])) / 50, point[1] + (step[1] * (high[1] - low[1])) / 50);
  });

  const axes = `The dots are codes of test images${classes ? ', a colour for each class' : ''}: ` +
    `z 0 from ${low[0].toFixed(1)} to ${high[0].toFixed(1)}, left to right; z 1 from ${low[1].toFixed(1)} to ${high[1].toFixed(1)}, upwards.`;
  root.append(section(
    'The plane of codes', `Two numbers say what an image is. ${axes}`,
    make('div', {class: 'tools'}, make('label', {for: 'dots', class: 'control'}, withDots, ' codes of test images'), shown,
      chosen?.element ?? null),
    make('div', {class: 'row'}, map, result.figure)));
  await move((low[0] + high[0]) / 2, (low[1] + high[1]) / 2);

  await tile();
}
