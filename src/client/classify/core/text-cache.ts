/** Bounds of one generation; a cache holds two. */
export interface TextCacheLimits {
  readonly texts: number;
  /** Characters of all keys together, each two bytes at most. */
  readonly characters: number;
}

/**
 * Values by text, bounded in number and in size. Texts live in two generations: when the young one is full it
 * becomes the old one, and what is asked for in the old one becomes young again. So a hit costs one look,
 * and what is in use stays however many texts are seen once.
 */
export class TextCache<V extends object> {
  readonly #limits: TextCacheLimits;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  #youngCharacters = 0;

  constructor(limits: TextCacheLimits) {
    this.#limits = limits;
  }

  get(text: string): V | undefined {
    return this.#young.get(text) ?? this.#promote(text);
  }

  /** A text longer than a quarter of the bound is not kept: few of them would push out all others. */
  set(text: string, value: V): void {
    if (text.length > this.#limits.characters / 4) return;
    this.#old.delete(text);
    if (!this.#young.has(text)) {
      const isFull =
        this.#young.size >= this.#limits.texts ||
        this.#youngCharacters + text.length > this.#limits.characters;
      if (isFull) {
        this.#old = this.#young;
        this.#young = new Map();
        this.#youngCharacters = 0;
      }
      this.#youngCharacters += text.length;
    }
    this.#young.set(text, value);
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#youngCharacters = 0;
  }

  #promote(text: string): V | undefined {
    const value = this.#old.get(text);
    if (value !== undefined) this.set(text, value);
    return value;
  }
}
