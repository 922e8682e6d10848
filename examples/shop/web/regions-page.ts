import { html } from 'hono/html';
import { formatMoney } from './format.ts';
import type { Html } from './layout.ts';

/** A product as one region has it; null where it has no such product, or does not answer. */
export interface RegionalProduct {
  readonly region: string;
  readonly product: { readonly id: string; readonly name: string; readonly priceCents: number } | null;
  readonly isUp: boolean;
}

/** One product in two regions side by side, each with a form that writes to its own leader. */
export function renderRegionsPage(found: readonly RegionalProduct[], id: number): Html {
  const [first] = found;
  const isSame = found.every(
    ({ product }) =>
      product?.name === first?.product?.name && product?.priceCents === first?.product?.priceCents,
  );
  return html`<section class="wrap">
    <h1>One product, ${found.length} regions</h1>
    <p>
      ${isSame ? 'All regions show the same.' : 'The regions differ: what one wrote has not reached the other.'}
      <a href="/regions?product=${id}">Look again</a>
    </p>
    <p>
      To make a conflict, run <code>lockstep regions cut eu us</code>, or cut them on the dashboard, save
      another name here and there, and heal them. Name and price merge one by one; of two names the later one
      stays.
    </p>
    <div class="regions">${found.map((one) => renderRegion(one, id))}</div>
  </section>`;
}

function renderRegion({ region, product, isUp }: RegionalProduct, id: number): Html {
  if (product === null)
    return html`<article>
      <h2>${region}</h2>
      <p>${isUp ? 'There is no such product here.' : 'This region does not answer.'}</p>
    </article>`;
  return html`<article>
    <h2>${region}</h2>
    <p><strong>${product.name}</strong>, ${formatMoney(product.priceCents)}</p>
    <form method="post" action="/regions/${region}/products/${id}">
      <label>Name <input name="name" value="${product.name}" maxlength="120" required /></label>
      <label
        >Price in cents <input name="priceCents" type="number" min="1" value="${product.priceCents}" required
      /></label>
      <button>Save in ${region}</button>
    </form>
  </article>`;
}
