import type { Socket } from 'node:net';

const REMEMBERED = 2_000;

/**
 * Tells connections of those who know the cluster's secrets from those of strangers. A request that was sealed is proof
 * the first time it comes: one that somebody recorded is answered again, where that does no harm, but proves nothing.
 */
export class Proofs {
  readonly #prove: (socket: Socket) => void;
  readonly #proved = new WeakSet<Socket>();
  readonly #nonces = new Set<string>();

  constructor(prove: (socket: Socket) => void) {
    this.#prove = prove;
  }

  /** Whether it was the first time. */
  accept(nonce: string, socket: Socket): boolean {
    if (this.#nonces.has(nonce)) return false;
    if (this.#proved.has(socket)) return true;
    this.#nonces.add(nonce);
    const [oldest = ''] = this.#nonces;
    if (this.#nonces.size > REMEMBERED) this.#nonces.delete(oldest);
    this.#proved.add(socket);
    this.#prove(socket);
    return true;
  }
}
