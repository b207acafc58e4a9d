// The page: a tab for each model of models.json, and the panels that its endpoints allow.

import {make} from './dom.js';
import * as draw from './draw.js';
import * as faces from './faces.js';
import * as latents from './latents.js';
import * as plane from './plane.js';
import {Model, loadRuntime} from './runtime.js';
import * as samples from './samples.js';

const PANELS = [draw, faces, plane, latents, samples];
const tabs = document.getElementById('tabs'), panels = document.getElementById('panels');
const status = document.getElementById('status');

window.addEventListener('unhandledrejection', (event) => page.complain(`This did not work: ${event.reason?.message ?? event.reason}`));

const page = {
  models: [],
  timed(model) {
    status.className = '';
    status.textContent = `${model.name}: ${model.milliseconds.toFixed(1)} ms for the last image, in WebAssembly`;
  },
  complain(text) {
    status.className = 'error';
    status.textContent = text;
  },
};

const tabOf = (model) => `tab-${model.name.replace(/[^\w-]/g, '_')}`;

async function open(model) {
  for (const tab of tabs.children) {
    const isIt = tab.dataset.name === model.name;
    tab.setAttribute('aria-selected', String(isIt));
    tab.tabIndex = isIt ? 0 : -1;
  }
  panels.setAttribute('aria-labelledby', tabOf(model));
  history.replaceState(null, '', `#${encodeURIComponent(model.name)}`);
  const root = make('div');
  panels.replaceChildren(root);
  root.append(make('div', {class: 'about'}, make('h2', {}, model.name), make('p', {},
    `${model.description} ${model.precision}, ${(model.bytes / 1e6).toFixed(1)} MB. `,
    model.license ? `Licence of the weights: ${model.license}. ` : '')));
  try {
    for (const panel of PANELS) {
      if (panel.applies(model) && root.isConnected) await panel.mount(root, model, page);
    }
    if (root.isConnected) document.body.dataset.ready = model.name;
  } catch (error) {
    page.complain(`${model.name} cannot run here: ${error.message ?? error}`);
    throw error;
  }
}

function addTabs() {
  tabs.append(...page.models.map((model) => make('button', {
    role: 'tab', id: tabOf(model), 'data-name': model.name, 'aria-controls': 'panels', onclick: () => open(model),
  }, model.name)));
  tabs.addEventListener('keydown', (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const all = [...tabs.children], next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    next.click();
  });
}

loadRuntime().catch((error) => page.complain(`The runtime cannot be loaded: ${error.message}`));
const manifest = await (await fetch('models.json')).json();
page.models = manifest.models.map((about) => new Model(about));
addTabs();
const asked = location.hash.slice(1);
await open(page.models.find((model) => [model.name, encodeURIComponent(model.name)].includes(asked)) ?? page.models[0]);
