// LiteRT in WebAssembly, and models that it has compiled.

import * as litert from '@litertjs/core';

const VENDOR = 'vendor/litertjs/litert_wasm_compat_internal';

let ready;

/** Loads the runtime, once. Its .wasm file comes packed, so that a plain file server sends a third of its bytes. */
export function loadRuntime() {
  ready ??= (async () => {
    const packed = await fetch(`${VENDOR}.wasm.gz`);
    if (!packed.ok) throw new Error(`${VENDOR}.wasm.gz: ${packed.status} ${packed.statusText}`);
    let bytes = new Uint8Array(await packed.arrayBuffer());
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) {  // some servers have it unpacked by the browser
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
      bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    }
    self.Module = {wasmBinary: bytes};
    await litert.loadLiteRt(`${VENDOR}.js`);
  })().catch((error) => {
    ready = undefined;  // the next call tries again
    throw error;
  });
  return ready;
}

/** A model of the page: its entry in models.json, and its file once it is needed. */
export class Model {
  constructor(about) {
    Object.assign(this, about);
    this.milliseconds = null;  // of the last call
    this.queue = Promise.resolve();
  }

  has(endpoint) {
    return endpoint in this.endpoints;
  }

  /** Downloads and compiles the file, once. */
  load() {
    this.compiled ??= (async () => {
      await loadRuntime();
      return litert.loadAndCompile(this.file, {accelerator: 'wasm'});  // asked for by name: without WebGPU others crash
    })().catch((error) => {
      this.compiled = undefined;
      throw error;
    });
    return this.compiled;
  }

  /** The examples of the test split that come with the model, downloaded once: images and labels. */
  loadExamples() {
    this.exampleData ??= (async () => {
      if (!this.examples) return null;
      const {shape, images, labels} = await (await fetch(this.examples)).json();
      const bytes = Uint8Array.from(atob(images), (letter) => letter.charCodeAt(0));
      const size = shape.reduce((a, b) => a * b);
      const all = Array.from({length: bytes.length / size}, (_, i) =>
        Float32Array.from(bytes.subarray(i * size, (i + 1) * size), (level) => level / 255));
      return {images: all, labels};
    })().catch((error) => {
      this.exampleData = undefined;
      throw error;
    });
    return this.exampleData;
  }

  /** The outputs of an endpoint, by name, for one example. Calls wait for each other: the runtime takes one at a time. */
  run(endpoint, inputs) {
    const result = this.queue.then(async () => {
      const model = await this.load();
      const wanted = this.endpoints[endpoint].inputs;
      const tensors = {};
      for (const [name, values] of Object.entries(inputs)) {
        const type = wanted[name].dtype === 'int32' ? Int32Array : Float32Array;
        tensors[name] = new litert.Tensor(type.from(values), wanted[name].shape);
      }
      const start = performance.now();
      const outputs = await model.run(endpoint, tensors);
      const found = {};
      for (const [name, tensor] of Object.entries(outputs)) {
        found[name] = Float32Array.from(await tensor.data());
        tensor.delete();
      }
      this.milliseconds = performance.now() - start;
      for (const tensor of Object.values(tensors)) tensor.delete();
      return found;
    });
    this.queue = result.catch(() => {});
    return result;
  }
}

/** A function that runs `work` at once, and once more with the newest state if it was called while it ran. */
export function latest(work) {
  let running = null, again = false;
  return function start() {
    if (running) {
      again = true;
      return running;
    }
    running = (async () => {
      do {
        again = false;
        await work();
      } while (again);
    })().finally(() => { running = null; });
    return running;
  };
}
