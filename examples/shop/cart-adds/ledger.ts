/** What was acknowledged of each product in each cart, and what may have been added besides. */
export class AddLedger {
  readonly #acknowledged: Uint32Array;
  readonly #doubtful: Uint32Array;
  readonly carts: number;
  readonly products: number;
  acknowledged = 0;
  doubtful = 0;

  constructor(carts: number, products: number) {
    this.carts = carts;
    this.products = products;
    this.#acknowledged = new Uint32Array(carts * products);
    this.#doubtful = new Uint32Array(carts * products);
  }

  add(cart: number, product: number): void {
    raise(this.#acknowledged, cart * this.products + product);
    this.acknowledged += 1;
  }

  doubt(cart: number, product: number): void {
    raise(this.#doubtful, cart * this.products + product);
    this.doubtful += 1;
  }

  /** Holds what a cart has in the end against it: pieces that are missing, and those that nobody added. */
  judge(
    cart: number,
    quantities: ReadonlyMap<number, number>,
  ): { readonly lost: number; readonly invented: number } {
    let lost = 0;
    let invented = 0;
    for (let product = 0; product < this.products; product++) {
      const index = cart * this.products + product;
      const least = this.#acknowledged[index] ?? 0;
      const most = least + (this.#doubtful[index] ?? 0);
      const found = quantities.get(product) ?? 0;
      lost += Math.max(0, least - found);
      invented += Math.max(0, found - most);
    }
    return { lost, invented };
  }
}

function raise(counts: Uint32Array, index: number): void {
  counts[index] = (counts[index] ?? 0) + 1;
}
