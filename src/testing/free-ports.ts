import { randomInt } from 'node:crypto';
import { canListen } from '../cli/dev/ports.ts';

/** Below those that Linux, macOS and the BSDs give to connections that go out: one of these could take it before it is used. */
const FIRST = 10_240;
const LAST = 32_767;
const ATTEMPTS = 1_000;

/** Ports of the loopback address, each another one, on which nobody listens right now. */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  for (let attempt = 0; attempt < ATTEMPTS && found.size < count; attempt++) {
    // At random, so that tests that run at once do not choose the same.
    const port = randomInt(FIRST, LAST + 1);
    if (!found.has(port) && (await canListen(port))) found.add(port);
  }
  if (found.size < count) throw new Error(`There are no ${count} free ports from ${FIRST} to ${LAST}.`);
  return [...found];
}
