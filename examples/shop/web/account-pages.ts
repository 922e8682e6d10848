import { html } from 'hono/html';
import type { Account } from '../accounts.ts';
import type { Order } from '../orders.ts';
import { formatDate, formatMoney } from './format.ts';
import { renderAlert, renderNotice } from './layout.ts';
import type { Html } from './layout.ts';

export interface SignInForm {
  readonly next: string;
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly problem?: string | undefined;
}

export function renderSignInPage(mode: 'sign-in' | 'sign-up', form: SignInForm): Html {
  const isNew = mode === 'sign-up';
  const other = isNew ? 'sign-in' : 'sign-up';
  return html`<section class="notice form">
    <h1>${isNew ? 'Create an account' : 'Welcome back'}</h1>
    ${renderAlert(form.problem)}
    <form method="post" action="/${mode}" class="stack">
      <input type="hidden" name="next" value="${form.next}" />
      ${isNew ? html`<label>Name<input name="name" required maxlength="80" autocomplete="name" value="${form.name ?? ''}" /></label>` : ''}
      <label
        >E-mail<input name="email" type="email" required autocomplete="email" value="${form.email ?? ''}"
      /></label>
      <label
        >Password<input
          name="password"
          type="password"
          required
          minlength="8"
          autocomplete="${isNew ? 'new-password' : 'current-password'}"
      /></label>
      <button class="button wide">${isNew ? 'Create account' : 'Sign in'}</button>
    </form>
    <p class="quiet">
      ${isNew ? 'Been here before?' : 'New here?'}
      <a href="/${other}?next=${encodeURIComponent(form.next)}">${isNew ? 'Sign in' : 'Create an account'}</a>
    </p>
  </section>`;
}

export function renderAccountPage(account: Account): Html {
  return html`<section class="notice form">
    <h1>Hello, ${account.name}</h1>
    <p class="quiet">${account.email}</p>
    <a class="button wide" href="/orders">My orders</a>
    <form method="post" action="/sign-out"><button class="button ghost wide">Sign out</button></form>
  </section>`;
}

export function renderOrdersPage(orders: readonly Order[], placedId: number | null): Html {
  if (orders.length === 0) {
    return renderNotice('No orders yet', 'When you buy something, it shows here at once.', {
      href: '/',
      label: 'Look around',
    });
  }
  return html`<div class="wrap narrow">
    <h1>My orders</h1>
    ${orders.some((order) => order.id === placedId) ? html`<p class="thanks" role="status"><b>Thank you!</b> Your order is placed and safely stored.</p>` : ''}
    ${orders.map((order) => renderOrder(order, order.id === placedId))}
  </div>`;
}

function renderOrder(order: Order, isNew: boolean): Html {
  return html`<article class="order ${isNew ? 'new' : ''}">
    <header>
      <div><b>Order ${order.id}</b><span class="quiet">${formatDate(order.placedAt)}</span></div>
      <div>
        <b>${formatMoney(order.totalCents)}</b
        ><span class="quiet">${order.card.brand} ···· ${order.card.last4}</span>
      </div>
    </header>
    <ul>
      ${order.items.map(
        (item) =>
          html`<li>
            <a class="pic" href="/products/${item.productId}"
              ><img src="/art/${item.art}.svg" width="64" height="64" alt=""
            /></a>
            <span
              ><a href="/products/${item.productId}">${item.name}</a>
              <span class="quiet"
                >${item.quantity} ×
                ${formatMoney(item.unitPriceCents)}${item.serials.length > 0 ? html` · <b class="serial">No. ${item.serials.join(', ')}</b>` : ''}</span
              ></span
            >
          </li>`,
      )}
    </ul>
    <footer class="quiet">To ${order.shipTo.split('\n').join(', ')}</footer>
  </article>`;
}
