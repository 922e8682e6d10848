import { html } from 'hono/html';
import type { ProductSummary } from '../catalog.ts';
import { LIMITED_CATEGORY } from '../seed/words.ts';
import { formatCount, formatMoney } from './format.ts';
import type { Html } from './layout.ts';

/** Five stars, filled to the tenth. */
export function renderStars(rating: number): Html {
  const percent = Math.round(rating * 20);
  return html`<span class="stars" role="img" aria-label="${rating.toFixed(1)} of 5 stars"
    ><span class="s${Math.round(percent / 2) * 2}"></span
  ></span>`;
}

export function renderProductCard(product: ProductSummary, isEager = false): Html {
  return html`<article class="card">
    <a href="/products/${product.id}">
      <div class="pic">
        <img
          src="/art/${product.art}.svg"
          width="400"
          height="400"
          alt=""
          ${isEager ? '' : 'loading=lazy'}
          decoding="async"
        />
        ${product.category === LIMITED_CATEGORY ? html`<span class="badge">Limited edition</span>` : ''}
      </div>
      <h3>${product.name}</h3>
      <p class="meta">
        <span class="price">${formatMoney(product.priceCents)}</span>
        ${
          product.rating === null
            ? html`<span class="quiet">New</span>`
            : html`<span class="rated"
                >${renderStars(product.rating)}<span class="quiet"
                  >${formatCount(product.reviewCount)}</span
                ></span
              >`
        }
      </p>
    </a>
  </article>`;
}
