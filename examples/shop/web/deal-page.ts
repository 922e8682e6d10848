import { html } from 'hono/html';
import type { Product } from '../catalog.ts';
import { formatMoney } from './format.ts';
import type { Html } from './layout.ts';

/** Share of the price that the deal takes. */
const DEAL_SHARE = 0.3;

/** One product, one piece, one owner. */
export function renderDealPage(
  product: Product,
  owner: 'nobody' | 'you' | 'another',
  seen: readonly Product[],
): Html {
  const price = Math.round(product.priceCents * DEAL_SHARE);
  return html`<section class="wrap">
    <h1>Deal of the hour</h1>
    <p>
      <strong><a href="/products/${product.id}">${product.name}</a></strong
      >, ${formatMoney(price)} instead of ${formatMoney(product.priceCents)}. There is one piece.
    </p>
    ${renderClaim(owner)}
    <p>
      Three independent servers keep who got it. Kill any one of them (<code>lockstep kill q2</code>): the
      piece is still sold, and sold once.
    </p>
    ${
      seen.length === 0
        ? ''
        : html`<h2>You looked at</h2>
            <ul>
              ${seen.map(({ id, name }) => html`<li><a href="/products/${id}">${name}</a></li>`)}
            </ul>`
    }
  </section>`;
}

function renderClaim(owner: 'nobody' | 'you' | 'another'): Html {
  if (owner === 'you') return html`<p role="status"><strong>It is yours.</strong></p>`;
  if (owner === 'another')
    return html`<p role="status">Somebody was quicker. The next one comes with the hour.</p>`;
  return html`<form method="post" action="/deal"><button>Take it</button></form>`;
}
