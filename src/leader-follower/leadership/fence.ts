/**
 * The newest version of the register at which this node gave its position to a candidate, or was one: from
 * the holder of that version it neither receives nor supports anything (docs/internals/failover.md).
 */
export class Fence {
  #version: number | null = null;

  /** Null until the register was read once: a restarted node may have fenced in an earlier life. */
  get isKnown(): boolean {
    return this.#version !== null;
  }

  /** No version is newer while it is not known. */
  get version(): number {
    return this.#version ?? Number.POSITIVE_INFINITY;
  }

  /** Whether this node may receive from the holder of this version of the register. */
  allows(version: number): boolean {
    return version > this.version;
  }

  raise(version: number): void {
    this.#version = Math.max(this.#version ?? 0, version);
  }
}
