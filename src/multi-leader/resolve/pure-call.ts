/** What gives another answer each time, by where it is. */
const IMPURE: readonly (readonly [object, readonly string[], string])[] = [
  [Math, ['random'], 'Math'],
  [performance, ['now'], 'performance'],
  [crypto, ['randomUUID', 'getRandomValues'], 'crypto'],
  [globalThis, ['fetch', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'], 'globalThis'],
  [process, ['hrtime'], 'process'],
];

/** Calls a function to which time, chance and what comes later are closed: using them throws, with a sentence. */
export function callPurely<T>(call: () => T): T {
  const restores: (() => void)[] = [];
  const replace = (object: object, name: string, value: unknown): void => {
    const before = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, { value, configurable: true, writable: true });
    restores.push(() => {
      if (before === undefined) Reflect.deleteProperty(object, name);
      else Object.defineProperty(object, name, before);
    });
  };
  try {
    for (const [object, names, where] of IMPURE)
      for (const name of names)
        replace(object, name, () => refuse(where === 'globalThis' ? name : `${where}.${name}`));
    replace(globalThis, 'Date', pureDate(Date));
    return call();
  } finally {
    for (const restore of restores.toReversed()) restore();
  }
}

/** Dates that are given may be made and read. */
function pureDate(date: DateConstructor): DateConstructor {
  return new Proxy(date, {
    construct: (target, values, newTarget) =>
      values.length === 0 ? refuse('new Date()') : (Reflect.construct(target, values, newTarget) as Date),
    apply: () => refuse('Date()'),
    get: (target, name): unknown =>
      name === 'now' ? () => refuse('Date.now') : Reflect.get(target, name, target),
  });
}

function refuse(what: string): never {
  throw new TypeError(`it uses ${what}, which gives another answer each time`);
}
