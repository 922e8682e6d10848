import { createSecretKey, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { challengeCode, isSameCode } from './seal-codes.ts';

/** Between asking for a challenge and the command there is one round trip; a person is waiting. */
const VALID_MS = 30_000;

/**
 * Sees that a command comes once, and soon after it was made: a recorded one, repeated later, would switch over again.
 * There is nothing to remember for a challenge that was given out, however many ask for one: it proves itself. Only
 * commands that were sealed are remembered, and only for as long as their challenge is valid.
 */
export class Challenges {
  readonly #clock: () => number;
  /** Of this process: what was meant for an earlier one is void. */
  readonly #key: KeyObject = createSecretKey(randomBytes(32));
  readonly #used = new Map<string, number>();

  /** `clock` tells monotonic milliseconds. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** It is no secret. */
  issue(): string {
    const issuedAt = Math.floor(this.#clock()).toString(36);
    return `${issuedAt}-${challengeCode(this.#key, issuedAt)}`;
  }

  /** Whether a sealed command with this nonce answers a valid challenge, and was not heard before. */
  accept(nonce: string): boolean {
    const [challenge = ''] = nonce.split('.');
    const dash = challenge.indexOf('-');
    const issuedAt = challenge.slice(0, Math.max(0, dash));
    if (!isSameCode(challenge.slice(dash + 1), challengeCode(this.#key, issuedAt))) return false;
    const nowMs = this.#clock();
    for (const [used, untilMs] of this.#used) if (untilMs < nowMs) this.#used.delete(used);
    const untilMs = Number.parseInt(issuedAt, 36) + VALID_MS;
    if (untilMs < nowMs || this.#used.has(nonce)) return false;
    this.#used.set(nonce, untilMs);
    return true;
  }
}
