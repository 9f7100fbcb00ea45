// What a report has only with a script: filters, zoom, all folds at once.
// Everything is there to be read without it.
'use strict';

function make(name, attributes, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  if (text) {
    element.textContent = text;
  }
  return element;
}

// --- filters ---------------------------------------------------------------

function addFilter(table, number) {
  const what = table.dataset.filter;
  const rows = [...table.tBodies[0].rows];
  const box = make('p', {class: 'filter'});
  const input = make('input', {type: 'search', id: `filter-${number}`,
                               autocomplete: 'off'});
  const told = make('span', {role: 'status', class: 'note'});
  box.append(make('label', {for: input.id}, `Filter ${what}`), input, told);
  input.addEventListener('input', () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      shown += !row.hidden;
    }
    told.textContent = `${shown} of ${rows.length}`;
  });
  table.parentElement.before(box);
}

// --- folds -----------------------------------------------------------------

function addFoldButton() {
  const folds = [...document.querySelectorAll('details')];
  const closed = folds.filter(fold => !fold.open);
  if (!closed.length) {
    return;
  }
  const button = make('button', {type: 'button', 'aria-pressed': 'false'},
                      'Unfold all');
  button.addEventListener('click', () => {
    const open = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(open));
    closed.forEach(fold => { fold.open = open; });
  });
  document.querySelector('.bar').append(button);
  addEventListener('beforeprint', () => {
    folds.forEach(fold => { fold.open = true; });
  });
}

// --- flame graphs ----------------------------------------------------------

const HELP = 'Arrow keys move between frames, Enter zooms, Escape goes back.';

class Flame {
  constructor(svg, number) {
    this.svg = svg;
    this.frames = [...svg.querySelectorAll('.frame')].map(element => ({
      element,
      depth: Number(element.dataset.depth),
      left: Number(element.dataset.left),
      width: Number(element.dataset.width),
    }));
    this.help = make('p', {class: 'note', id: `flame-help-${number}`}, HELP);
    this.back = make('button', {type: 'button'}, 'Show all');
    this.back.hidden = true;
    this.back.addEventListener('click', () => this.zoom(this.frames[0], true));
    svg.parentElement.before(this.help, this.back);
    this.prepare();
  }

  prepare() {
    this.svg.setAttribute('role', 'tree');
    this.svg.setAttribute('aria-describedby', this.help.id);
    for (const frame of this.frames) {
      const {element} = frame;
      element.setAttribute('role', 'treeitem');
      element.setAttribute('aria-level', frame.depth + 1);
      element.setAttribute('aria-label',
                           element.querySelector('title').textContent);
      element.setAttribute('tabindex', '-1');
      element.addEventListener('click', () => this.zoom(frame, true));
      element.addEventListener('keydown', event => this.key(event, frame));
    }
    this.frames[0].element.setAttribute('tabindex', '0');
  }

  inside(frame, outer) {
    const slack = 0.02;
    return frame.depth >= outer.depth && frame.left >= outer.left - slack &&
      frame.left + frame.width <= outer.left + outer.width + slack;
  }

  zoom(target, focus) {
    for (const frame of this.frames) {
      const around = frame.depth < target.depth && this.inside(target, frame);
      const {element} = frame;
      let left = (frame.left - target.left) * 100 / target.width;
      let width = frame.width * 100 / target.width;
      if (around) {
        [left, width] = [0, 100];
      }
      element.setAttribute('x', `${left}%`);
      element.setAttribute('width', `${width}%`);
      element.classList.toggle('narrow', width < 3);
      const shown = around || this.inside(frame, target);
      element.setAttribute('visibility', shown ? 'visible' : 'hidden');
    }
    this.back.hidden = target === this.frames[0];
    if (focus) {
      this.focus(target);
    }
  }

  focus(frame) {
    for (const other of this.frames) {
      other.element.setAttribute('tabindex', other === frame ? '0' : '-1');
    }
    frame.element.focus();
  }

  seen() {
    return this.frames.filter(
      frame => frame.element.getAttribute('visibility') !== 'hidden');
  }

  // The nearest frame in a direction, or undefined.
  next(key, frame) {
    const seen = this.seen();
    const row = seen.filter(other => other.depth === frame.depth);
    const place = row.indexOf(frame);
    switch (key) {
    case 'ArrowUp':
      return seen.find(other => other.depth === frame.depth - 1 &&
                                this.inside(frame, other));
    case 'ArrowDown':
      return seen.find(other => other.depth === frame.depth + 1 &&
                                this.inside(other, frame));
    case 'ArrowLeft': return row[place - 1];
    case 'ArrowRight': return row[place + 1];
    case 'Home': return this.frames[0];
    }
    return undefined;
  }

  key(event, frame) {
    if (event.key === 'Enter' || event.key === ' ') {
      this.zoom(frame, true);
    } else if (event.key === 'Escape') {
      this.zoom(this.frames[0], true);
    } else {
      const other = this.next(event.key, frame);
      if (!other) {
        return;
      }
      this.focus(other);
    }
    event.preventDefault();
  }
}

document.querySelectorAll('table[data-filter]').forEach(addFilter);
document.querySelectorAll('svg.flame').forEach(
  (svg, number) => new Flame(svg, number));
addFoldButton();
