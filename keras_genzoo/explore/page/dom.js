// Elements of the page.

/** An element with attributes, listeners (`onclick`) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value' || name === 'checked') element[name] = value;
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A canvas with a caption; `alt` is what a screen reader says of it. */
export function picture(id, caption, alt, attributes = {}) {
  const canvas = make('canvas', {id, class: 'large', role: 'img', 'aria-label': alt, ...attributes});
  return {canvas, figure: make('figure', {}, canvas, make('figcaption', {}, caption))};
}

/** A slider under a label that shows its value. */
export function slider(id, label, {min, max, step = 'any', value}, changed) {
  const shown = make('output', {for: id}, Number(value).toFixed(2));
  const input = make('input', {
    type: 'range', id, min, max, step, value, oninput: () => {
      shown.textContent = Number(input.value).toFixed(2);
      changed(Number(input.value));
    },
  });
  const set = (next) => {
    input.value = next;
    shown.textContent = Number(next).toFixed(2);
  };
  return {element: make('label', {for: id, class: 'control'}, `${label} `, shown, input), input, set};
}

/** A choice of a class, or null of a model that takes none. */
export function classes(model, endpoint, id, changed, {all = false} = {}) {
  const labels = model.endpoints[endpoint].inputs.labels;
  if (!labels) return null;
  const options = labels.labels.map((name, i) => make('option', {value: i}, name));
  if (all) options.unshift(make('option', {value: -1}, 'one of each'));
  const select = make('select', {id, onchange: () => changed(Number(select.value))}, ...options);
  return {element: make('label', {for: id}, 'class ', select), get value() { return Number(select.value); }};
}

export function section(title, text, ...children) {
  return make('section', {class: 'panel'}, make('h2', {}, title), make('p', {}, text), ...children);
}
