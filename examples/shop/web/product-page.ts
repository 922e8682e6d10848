import { html } from 'hono/html';
import type { Account } from '../accounts.ts';
import type { Category, Product, ProductSummary } from '../catalog.ts';
import type { Review, ReviewPage } from '../reviews.ts';
import { formatCount, formatDate, formatMoney } from './format.ts';
import { renderAlert } from './layout.ts';
import type { Html } from './layout.ts';
import { renderProductCard, renderStars } from './product-card.ts';

export interface ProductPageParts {
  readonly product: Product;
  readonly category: Category | undefined;
  readonly reviews: ReviewPage;
  readonly similar: readonly ProductSummary[];
  readonly account: Account | null;
  readonly reviewPage: number;
  readonly problem?: string | undefined;
}

export const REVIEWS_PER_PAGE = 8;

export function renderProductPage(parts: ProductPageParts): Html {
  const { product, category, similar } = parts;
  return html`<div class="wrap">
    <nav class="crumbs quiet" aria-label="Where you are">
      <a href="/">Shop</a> /
      <a href="/?category=${product.category}">${category?.name ?? product.category}</a>
    </nav>
    ${renderAlert(parts.problem)}
    <article class="product">
      <div class="pic big">
        <img src="/art/${product.art}.svg" width="400" height="400" alt="Drawing of ${product.name}" />
      </div>
      <div class="buy">
        ${product.pieces > 0 ? html`<p class="kicker">Limited to ${product.pieces} numbered pieces</p>` : ''}
        <h1>${product.name}</h1>
        ${
          product.rating === null
            ? html`<p class="quiet">No reviews yet</p>`
            : html`<p class="rated">
                ${renderStars(product.rating)} <b>${product.rating.toFixed(1)}</b>
                <a class="quiet" href="#reviews">${formatCount(product.reviewCount)} reviews</a>
              </p>`
        }
        <p class="price big">${formatMoney(product.priceCents)}</p>
        <p class="text">${product.description}</p>
        ${renderStock(product)}
        <form method="post" action="/cart/items" class="add">
          <input type="hidden" name="productId" value="${product.id}" />
          <label class="qty"
            ><span>Quantity</span
            ><select name="quantity">
              ${[1, 2, 3, 4, 5, 6].map((n) => html`<option>${n}</option>`)}
            </select></label
          >
          <button class="button" ${product.stock === 0 ? 'disabled' : ''}>
            ${product.stock === 0 ? 'Sold out' : 'Add to cart'}
          </button>
        </form>
        <ul class="perks quiet">
          <li>Free delivery in 2–4 days</li>
          <li>100 days to change your mind</li>
          <li>Item ${product.sku}</li>
        </ul>
      </div>
    </article>
    ${renderReviews(parts)}
    ${
      similar.length === 0
        ? ''
        : html`<section class="similar">
            <h2>You may also like</h2>
            <div class="grid">${similar.map((item) => renderProductCard(item))}</div>
          </section>`
    }
  </div>`;
}

function renderStock({ stock }: Product): Html {
  if (stock === 0) return html`<p class="stock out">Sold out</p>`;
  if (stock <= 10) return html`<p class="stock low">Only ${stock} left</p>`;
  return html`<p class="stock">In stock, leaves tomorrow</p>`;
}

function renderReviews(parts: ProductPageParts): Html {
  const { product, reviews, reviewPage } = parts;
  const pageCount = Math.ceil(product.reviewCount / REVIEWS_PER_PAGE);
  const page = (to: number, label: string): Html =>
    html`<a class="button ghost" href="/products/${product.id}?reviews=${to}#reviews">${label}</a>`;
  return html`<section class="reviews" id="reviews">
    <div class="summary">
      <h2>Reviews</h2>
      ${product.rating === null ? '' : html`<p class="score"><b>${product.rating.toFixed(1)}</b>${renderStars(product.rating)}</p>`}
      ${renderHistogram(reviews.histogram)} ${renderReviewForm(parts)}
    </div>
    <div class="list">
      ${reviews.reviews.length === 0 ? html`<p class="empty">Be the first to say something.</p>` : reviews.reviews.map(renderReview)}
      ${
        pageCount > 1
          ? html`<nav class="pager" aria-label="Pages of reviews">
              ${reviewPage > 1 ? page(reviewPage - 1, '← Newer') : html`<span></span>`}
              <span class="quiet">Page ${reviewPage} of ${pageCount}</span>
              ${reviewPage < pageCount ? page(reviewPage + 1, 'Older →') : html`<span></span>`}
            </nav>`
          : ''
      }
    </div>
  </section>`;
}

function renderHistogram(histogram: readonly number[]): Html {
  const most = Math.max(1, ...histogram);
  return html`<dl class="histogram">
    ${[5, 4, 3, 2, 1].map((star) => {
      const count = histogram[star - 1] ?? 0;
      return html`<dt>${star}</dt>
        <dd>
          <meter min="0" max="${most}" value="${count}">${count}</meter
          ><span class="quiet">${formatCount(count)}</span>
        </dd>`;
    })}
  </dl>`;
}

function renderReview(review: Review): Html {
  return html`<article class="review">
    <header>
      ${renderStars(review.rating)}
      <h3>${review.title}</h3>
    </header>
    <p>${review.body}</p>
    <footer class="quiet">
      <span class="avatar" aria-hidden="true">${review.author.slice(0, 1)}</span>${review.author} ·
      ${formatDate(review.writtenAt)}
    </footer>
  </article>`;
}

function renderReviewForm({ product, account }: ProductPageParts): Html {
  if (account === null) {
    return html`<p class="quiet">
      <a href="/sign-in?next=/products/${product.id}">Sign in</a> to write a review.
    </p>`;
  }
  return html`<details class="write">
    <summary class="button ghost">Write a review</summary>
    <form method="post" action="/products/${product.id}/reviews">
      <fieldset class="rate">
        <legend>Your rating</legend>
        ${[5, 4, 3, 2, 1].map((star) => html`<input type="radio" id="r${star}" name="rating" value="${star}" required /><label for="r${star}" aria-label="${star} stars">★</label>`)}
      </fieldset>
      <label>Title<input name="title" required maxlength="120" /></label>
      <label>Your review<textarea name="body" required maxlength="4000" rows="4"></textarea></label>
      <button class="button">Publish</button>
    </form>
  </details>`;
}
