import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { Account } from '../accounts.ts';
import { renderDrawer } from './drawer.ts';
import type { BehindPage } from './drawer.ts';

export type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

export const SHOP_NAME = 'Northlight';

/** What the frame around every page shows. */
export interface Frame {
  readonly title: string;
  readonly account: Account | null;
  readonly cartCount: number;
  readonly search?: string | undefined;
  /** What stood behind the page; left out where nothing did. */
  readonly behind?: BehindPage | undefined;
  readonly body: Html;
}

const LOGO = html`<svg viewBox="0 0 32 32" aria-hidden="true">
  <path
    d="M16 1.5c1.2 7.6 5.4 11.9 13 13.1v2.8c-7.6 1.2-11.8 5.5-13 13.1-1.2-7.6-5.4-11.9-13-13.1v-2.8C10.6 13.4 14.8 9.1 16 1.5Z"
    fill="currentColor"
  />
</svg>`;

const BAG = html`<svg
  viewBox="0 0 24 24"
  aria-hidden="true"
  fill="none"
  stroke="currentColor"
  stroke-width="1.7"
  stroke-linejoin="round"
>
  <path d="M5 8h14l1 13H4L5 8Z" />
  <path d="M8.5 10V7a3.5 3.5 0 0 1 7 0v3" stroke-linecap="round" />
</svg>`;

const LENS = html`<svg
  viewBox="0 0 24 24"
  aria-hidden="true"
  fill="none"
  stroke="currentColor"
  stroke-width="1.8"
  stroke-linecap="round"
>
  <circle cx="11" cy="11" r="6.5" />
  <path d="m16 16 4.5 4.5" />
</svg>`;

export function renderPage(frame: Frame): Html {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${frame.title} · ${SHOP_NAME}</title>
        <link rel="stylesheet" href="/assets/shop.css" />
        <link rel="icon" type="image/svg+xml" href="/assets/icon.svg" />
      </head>
      <body>
        <a class="skip" href="#main">Skip to content</a>
        ${renderHeader(frame)}
        <main id="main">${frame.body}</main>
        ${renderFooter(frame)}
      </body>
    </html>`;
}

function renderHeader({ account, cartCount, search }: Frame): Html {
  const name = account === null ? 'Sign in' : (account.name.split(' ')[0] ?? account.name);
  return html`<header class="top">
    <div class="top-in">
      <a class="logo" href="/">${LOGO}<span>${SHOP_NAME}</span></a>
      <form class="search" action="/" role="search">
        ${LENS}
        <input
          type="search"
          name="q"
          value="${search ?? ''}"
          placeholder="Search lamps, mugs, blankets…"
          aria-label="Search the shop"
          maxlength="100"
        />
      </form>
      <nav class="account">
        ${account === null ? '' : html`<a href="/orders">Orders</a>`}
        <a href="${account === null ? '/sign-in' : '/account'}">${name}</a>
        <a class="bag" href="/cart" aria-label="Cart, ${cartCount} pieces"
          >${BAG}${cartCount > 0 ? html`<b>${cartCount}</b>` : ''}</a
        >
      </nav>
    </div>
  </header>`;
}

function renderFooter({ behind }: Frame): Html {
  return html`<footer class="foot">
    <div class="foot-in">
      <p>${SHOP_NAME} is an example. Nothing is for sale, no card is charged.</p>
      ${behind === undefined ? '' : renderDrawer(behind)}
    </div>
  </footer>`;
}

/** A page that says one thing. */
export function renderNotice(
  title: string,
  text: string,
  link: { readonly href: string; readonly label: string },
): Html {
  return html`<section class="notice">
    <h1>${title}</h1>
    <p>${text}</p>
    <a class="button" href="${link.href}">${link.label}</a>
  </section>`;
}

export function renderAlert(text: string | undefined): Html | '' {
  return text === undefined ? '' : html`<p class="alert" role="alert">${text}</p>`;
}
