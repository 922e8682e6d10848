import { html } from 'hono/html';
import type { Category, ListRequest, ProductPage, Sort } from '../catalog.ts';
import { LIMITED_CATEGORY } from '../seed/words.ts';
import { formatCount } from './format.ts';
import type { Html } from './layout.ts';
import { renderProductCard } from './product-card.ts';

const SORT_NAMES: Readonly<Record<Sort, string>> = {
  popular: 'Most talked about',
  rating: 'Best rated',
  'price-asc': 'Price, low to high',
  'price-desc': 'Price, high to low',
  newest: 'Newest',
};

const CATEGORY_ART: Readonly<Record<string, string>> = {
  lighting: 'pendant-18',
  tableware: 'mug-4',
  kitchen: 'kettle-21',
  textiles: 'cushion-7',
  furniture: 'chair-12',
  desk: 'pencil-cup-3',
  audio: 'headphones-9',
  garden: 'planter-15',
  travel: 'backpack-5',
  toys: 'whale-2',
  [LIMITED_CATEGORY]: 'lantern-1',
};

export function renderCataloguePage(
  page: ProductPage,
  categories: readonly Category[],
  request: ListRequest,
): Html {
  const category = categories.find((candidate) => candidate.slug === request.category);
  const isHome = category === undefined && !request.search && page.page === 1;
  const isFirst = page.page === 1;
  return html`${isHome ? renderHero(categories) : ''}
    ${isHome ? renderShelf(categories) : renderTabs(categories, request)}
    <section class="wrap">
      <div class="bar">
        <div>
          <h2>${renderHeading(category, request)}</h2>
          <p class="quiet">
            ${describeCount(page.total)}${category === undefined ? '' : html` · ${category.tagline}`}
          </p>
        </div>
        ${renderSortForm(request)}
      </div>
      ${
        page.products.length === 0
          ? html`<p class="empty">
              Nothing matches. Try fewer or shorter words, or <a href="/">look around</a>.
            </p>`
          : html`<div class="grid">
              ${page.products.map((product, index) => renderProductCard(product, isFirst && index < 4))}
            </div>`
      }
      ${renderPager(page, request)}
    </section>`;
}

function describeCount(total: number): string {
  return total === 1 ? '1 product' : `${formatCount(total)} products`;
}

function renderHeading(category: Category | undefined, request: ListRequest): string {
  if (request.search) return `“${request.search}”${category === undefined ? '' : ` in ${category.name}`}`;
  return category?.name ?? 'Everything';
}

function renderHero(categories: readonly Category[]): Html {
  const total = categories.reduce((sum, category) => sum + category.productCount, 0);
  return html`<section class="hero">
    <div class="hero-in">
      <div>
        <p class="kicker">The winter collection</p>
        <h1>Good things for the darker half of the year.</h1>
        <p class="lead">
          ${formatCount(total)} well-made objects, chosen slowly. Every one reviewed by people who live with
          it.
        </p>
        <p class="actions">
          <a class="button" href="/?category=lighting">Shop lighting</a
          ><a class="button ghost" href="/?sort=rating">Best rated</a>
        </p>
      </div>
      <div class="hero-art" aria-hidden="true">
        ${['pendant-18', 'chair-12', 'planter-15', 'lantern-1'].map((art) => html`<img src="/art/${art}.svg" width="400" height="400" alt="" />`)}
      </div>
    </div>
  </section>`;
}

function renderShelf(categories: readonly Category[]): Html {
  return html`<nav class="shelf wrap" aria-label="Categories">
    ${categories
      .filter((category) => category.productCount > 0)
      .map(
        (category) =>
          html`<a href="/?category=${category.slug}"
            ><img src="/art/${CATEGORY_ART[category.slug] ?? 'mug-4'}.svg" width="80" height="80" alt="" /><b
              >${category.name}</b
            ><span class="quiet">${formatCount(category.productCount)}</span></a
          >`,
      )}
  </nav>`;
}

function renderTabs(categories: readonly Category[], request: ListRequest): Html {
  const link = (slug: string | undefined): string => href({ ...request, category: slug, page: 1 });
  return html`<nav class="tabs wrap" aria-label="Categories">
    <a href="${link(undefined)}" ${request.category === undefined ? 'aria-current=page' : ''}>All</a>
    ${categories
      .filter((category) => category.productCount > 0)
      .map(
        (category) =>
          html`<a
            href="${link(category.slug)}"
            ${category.slug === request.category ? 'aria-current=page' : ''}
            >${category.name}</a
          >`,
      )}
  </nav>`;
}

function renderSortForm(request: ListRequest): Html {
  const options = Object.entries(SORT_NAMES).map(
    ([sort, name]) =>
      html`<a
        href="${href({ ...request, sort: sort as Sort, page: 1 })}"
        ${sort === (request.sort ?? 'popular') ? 'aria-current=true' : ''}
        >${name}</a
      >`,
  );
  return html`<details class="sort">
    <summary>${SORT_NAMES[request.sort ?? 'popular']}</summary>
    <div>${options}</div>
  </details>`;
}

function renderPager(page: ProductPage, request: ListRequest): Html | '' {
  if (page.pageCount === 1) return '';
  const link = (to: number, label: string, rel: string): Html =>
    html`<a class="button ghost" rel="${rel}" href="${href({ ...request, page: to })}">${label}</a>`;
  return html`<nav class="pager" aria-label="Pages">
    ${page.page > 1 ? link(page.page - 1, '← Previous', 'prev') : html`<span></span>`}
    <span class="quiet">Page ${formatCount(page.page)} of ${formatCount(page.pageCount)}</span>
    ${page.page < page.pageCount ? link(page.page + 1, 'Next →', 'next') : html`<span></span>`}
  </nav>`;
}

function href({ search, category, sort, page }: ListRequest): string {
  const query = new URLSearchParams();
  if (search) query.set('q', search);
  if (category !== undefined) query.set('category', category);
  if (sort !== undefined && sort !== 'popular') query.set('sort', sort);
  if (page !== undefined && page > 1) query.set('page', String(page));
  const text = query.toString();
  return text === '' ? '/' : `/?${text}`;
}
