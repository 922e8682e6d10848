/**
 * Who may stay when strangers come without end. Each address has so many seats, and so has the whole house; the newest
 * gets one, and who has waited longest of those that hold most goes. So a stranger who takes all of an address can only
 * push out others of that address, and nobody for longer than it takes to say who they are.
 */
export class Seats<T> {
  readonly #perAddress: number;
  readonly #total: number;
  readonly #byAddress = new Map<string, Set<T>>();
  readonly #addressOf = new Map<T, string>();

  constructor(limits: { readonly perAddress: number; readonly total: number }) {
    this.#perAddress = limits.perAddress;
    this.#total = limits.total;
  }

  get size(): number {
    return this.#addressOf.size;
  }

  /** Whether there is a seat without anybody having to go. */
  hasRoom(address: string): boolean {
    return (this.#byAddress.get(address)?.size ?? 0) < this.#perAddress && this.size < this.#total;
  }

  /** Who has to go for it; null when nobody has. */
  take(address: string, guest: T): T | null {
    const guests = this.#byAddress.get(address) ?? new Set<T>();
    this.#byAddress.set(address, guests);
    guests.add(guest);
    this.#addressOf.set(guest, address);
    const crowd = guests.size > this.#perAddress ? guests : this.size > this.#total ? this.#largest() : null;
    const [oldest] = crowd ?? [];
    if (oldest === undefined) return null;
    this.leave(oldest);
    return oldest;
  }

  leave(guest: T): void {
    const address = this.#addressOf.get(guest);
    if (address === undefined) return;
    this.#addressOf.delete(guest);
    const guests = this.#byAddress.get(address);
    guests?.delete(guest);
    if (guests?.size === 0) this.#byAddress.delete(address);
  }

  #largest(): Set<T> {
    let largest = new Set<T>();
    for (const guests of this.#byAddress.values()) if (guests.size > largest.size) largest = guests;
    return largest;
  }
}

/** What counts as one: a machine has a whole /64 of IPv6 to itself. */
export function addressKey(address: string | undefined): string {
  if (address === undefined) return '';
  const plain = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
  if (!plain.includes(':')) return plain;
  const [head = ''] = plain.split('::');
  const groups = head.split(':').filter((group) => group !== '');
  return `${[...groups, '0', '0', '0', '0'].slice(0, 4).join(':')}::/64`;
}
