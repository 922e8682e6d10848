import { html } from 'hono/html';
import type { Account } from '../accounts.ts';
import { TEST_CARD } from '../card-provider.ts';
import type { Cart } from '../carts.ts';
import { formatMoney } from './format.ts';
import { renderAlert } from './layout.ts';
import type { Html } from './layout.ts';

export function renderCartPage(cart: Cart): Html {
  if (cart.lines.length === 0) {
    return html`<section class="notice">
      <h1>Your cart is empty</h1>
      <p>It has room for good things.</p>
      <a class="button" href="/">Look around</a>
    </section>`;
  }
  return html`<div class="wrap two">
    <section>
      <h1>Your cart</h1>
      <ul class="lines">
        ${cart.lines.map(
          (line) =>
            html`<li>
              <a class="pic" href="/products/${line.productId}"
                ><img src="/art/${line.art}.svg" width="96" height="96" alt=""
              /></a>
              <div class="what">
                <a href="/products/${line.productId}">${line.name}</a>
                <span class="quiet"
                  >${formatMoney(line.unitPriceCents)}
                  each${line.stock < line.quantity ? html` · <b class="warn">${line.stock === 0 ? 'sold out' : `only ${line.stock} left`}</b>` : ''}</span
                >
                <form method="post" action="/cart/items/${line.productId}" class="stepper">
                  <button name="quantity" value="${line.quantity - 1}" aria-label="One less">−</button>
                  <output>${line.quantity}</output>
                  <button
                    name="quantity"
                    value="${line.quantity + 1}"
                    aria-label="One more"
                    ${line.quantity >= 20 ? 'disabled' : ''}
                  >
                    +
                  </button>
                  <button class="link" name="quantity" value="0">Remove</button>
                </form>
              </div>
              <b class="sum">${formatMoney(line.unitPriceCents * line.quantity)}</b>
            </li>`,
        )}
      </ul>
    </section>
    <aside class="panel">
      ${renderTotals(cart)}
      <a class="button wide" href="/checkout">Check out</a>
      <p class="quiet small">Stock is taken when you pay, not before.</p>
    </aside>
  </div>`;
}

function renderTotals(cart: Cart): Html {
  return html`<h2>Summary</h2>
    <dl class="totals">
      <dt>${cart.count} ${cart.count === 1 ? 'piece' : 'pieces'}</dt>
      <dd>${formatMoney(cart.totalCents)}</dd>
      <dt>Delivery</dt>
      <dd>Free</dd>
      <dt class="total">Total</dt>
      <dd class="total">${formatMoney(cart.totalCents)}</dd>
    </dl>`;
}

export interface CheckoutForm {
  readonly orderKey: string;
  readonly shipTo: string;
  readonly problem?: string | undefined;
}

export function renderCheckoutPage(cart: Cart, account: Account, form: CheckoutForm): Html {
  return html`<div class="wrap two">
    <section>
      <h1>Checkout</h1>
      ${renderAlert(form.problem)}
      <form method="post" action="/checkout" class="stack" id="checkout">
        <input type="hidden" name="orderKey" value="${form.orderKey}" />
        <h2>Delivery</h2>
        <label
          >Name and address<textarea
            name="shipTo"
            rows="3"
            required
            minlength="5"
            maxlength="400"
            autocomplete="street-address"
            placeholder="${account.name}&#10;12 Harbour Street&#10;Northport"
          >
${form.shipTo}</textarea>
        </label>
        <h2>Card</h2>
        <label
          >Number<input
            name="number"
            inputmode="numeric"
            autocomplete="off"
            required
            value="${TEST_CARD.number}"
        /></label>
        <div class="pair">
          <label
            >Expiry<input
              name="expiry"
              required
              value="${TEST_CARD.expiry}"
              placeholder="MM/YY"
              autocomplete="off"
          /></label>
          <label
            >Security code<input
              name="cvc"
              inputmode="numeric"
              required
              value="${TEST_CARD.cvc}"
              autocomplete="off"
          /></label>
        </div>
        <p class="quiet small">A simulated card, filled in for you. 4000 0000 0000 0002 is declined.</p>
      </form>
    </section>
    <aside class="panel">
      ${renderTotals(cart)}
      <button class="button wide" form="checkout">Pay ${formatMoney(cart.totalCents)}</button>
      <p class="quiet small">
        Order and payment are confirmed only once they are on the disks of two servers. Clicking twice buys
        once.
      </p>
    </aside>
  </div>`;
}
