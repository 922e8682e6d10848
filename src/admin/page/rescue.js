import { readKey } from './commands.js';
import { byId, h, setText } from './dom.js';
import { bindTheme } from './theme.js';

/** @typedef {import('../rescue-source.ts').RescuePicture} RescuePicture */
/** @typedef {import('../rescue-source.ts').RescueDiff} RescueDiff */
/** @typedef {import('../rescue-source.ts').RescueTransaction} RescueTransaction */

const ARMED_MS = 4_000;
const LOOK_MS = 1_500;
/** Harmless ones beyond this are only counted. */
const SHOWN = 200;

const key = readKey();
const node = new URLSearchParams(location.search).get('node');
/** @type {RescuePicture['phase'] | null} */
let phase = null;
/** @type {readonly RescueTransaction[] | null} null until the first answer */
let transactions = null;

/**
 * @param {Record<string, unknown>} command
 * @returns {Promise<any>} the answer; throws an Error with the words for people
 */
async function ask(command) {
  const response = await fetch('/api/rescue', {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(node === null ? command : { ...command, node }),
  }).catch(() => {
    throw new Error('The dashboard could not be reached; is it still running?');
  });
  const body = await response.json();
  if (!response.ok) throw new Error(body.message ?? `The answer was ${response.status}.`);
  return body.answer;
}

/**
 * A button that does something at its second click, and shows what goes wrong.
 * @param {string} label
 * @param {() => Promise<void>} act
 * @param {boolean} [isArmedFirst]
 */
function button(label, act, isArmedFirst = true) {
  const element = /** @type {HTMLButtonElement} */ (h('button', { type: 'button', click }, label));
  let timer = 0;
  function rest() {
    clearTimeout(timer);
    element.textContent = label;
    delete element.dataset.armed;
  }
  async function click() {
    if (isArmedFirst && element.dataset.armed === undefined) {
      element.dataset.armed = '';
      element.textContent = 'Sure?';
      timer = setTimeout(rest, ARMED_MS);
      return;
    }
    rest();
    element.disabled = true;
    await attempt(act);
    element.disabled = false;
  }
  return element;
}

/** @param {() => Promise<void>} act */
async function attempt(act) {
  setText(byId('problem'), '');
  try {
    await act();
  } catch (error) {
    setText(byId('problem'), /** @type {Error} */ (error).message);
  }
}

/** @param {RescuePicture} picture */
async function show(picture) {
  setText(byId('node'), `from ${picture.node}, which stays behind on purpose`);
  setText(byId('state'), picture.text);
  if (picture.phase === phase) return;
  phase = picture.phase;
  byId('differences').hidden = phase !== 'open';
  byId('done').hidden = true;
  const canClose = phase === 'open' || phase === 'held';
  byId('closing').replaceChildren(
    ...(canClose ? [button('Close the rescue', async () => show(await ask({ kind: 'close' })))] : []),
  );
  showTransactions();
  if (phase === 'open') await showDifferences();
}

async function showDifferences() {
  byId('tables').replaceChildren(h('p', {}, 'Comparing …'));
  byId('restoring').replaceChildren();
  /** @type {readonly RescueDiff[]} */
  const diffs = await ask({ kind: 'diff' });
  byId('tables').replaceChildren(...diffs.map(tableChoice));
  if (diffs.length === 0)
    byId('tables').replaceChildren(h('p', {}, 'No table differs by the mistake any more.'));
  else
    byId('restoring').replaceChildren(
      button('Show what a restore would do', () => restore(true), false),
      button('Restore to the leader', () => restore(false)),
    );
}

/** @param {RescueDiff} diff */
function tableChoice(diff) {
  const { table, isDropped, missing, changed, touchedSince, rows, keys } = diff;
  const counts = [
    isDropped ? 'dropped' : null,
    missing > 0 ? `${missing} missing` : null,
    changed > 0 ? `${changed} changed` : null,
    touchedSince > 0 ? `${touchedSince} touched since` : null,
  ].filter((part) => part !== null);
  const some = Object.entries(keys).flatMap(([kind, list]) =>
    list.length === 0 ? [] : [`${kind === 'touchedSince' ? 'touched since' : kind}: ${list.join(' ')}`],
  );
  return h(
    'label',
    {},
    h('input', { type: 'checkbox', name: 'table', value: table, checked: true }),
    h('b', {}, table),
    h('span', {}, `${counts.join(', ')} (${rows.past} rows then, ${isDropped ? 'none' : rows.present} now)`),
    some.length === 0 ? null : h('span', { class: 'keys' }, some.join('; ')),
  );
}

/** @param {boolean} isTrial */
async function restore(isTrial) {
  const chosen = /** @type {NodeListOf<HTMLInputElement>} */ (
    document.querySelectorAll('input[name=table]:checked')
  );
  const tables = [...chosen].map((box) => box.value);
  if (tables.length === 0) throw new Error('Choose a table first.');
  const keeps = /** @type {HTMLInputElement} */ (document.querySelector('input[name=newer][value=keep]'));
  const lines = await ask({ kind: 'restore', tables, keepsNewer: keeps.checked, isTrial });
  if (!isTrial) await showDifferences();
  byId('done').hidden = false;
  setText(byId('done'), lines.join('\n'));
}

async function refresh() {
  const since = /** @type {HTMLSelectElement} */ (byId('since'));
  byId('transactions').setAttribute('aria-busy', 'true');
  transactions = await ask({ kind: 'list', sinceMs: Number(since.value) });
  byId('transactions').removeAttribute('aria-busy');
  showTransactions();
}

function showTransactions() {
  const all = /** @type {HTMLInputElement} */ (byId('all')).checked;
  if (transactions === null) {
    byId('transactions').replaceChildren(h('p', {}, 'Reading the log…'));
    return;
  }
  const harmless = transactions.filter(({ dangers, takesMany }) => dangers.length === 0 && !takesMany);
  const left = new Set(all ? harmless.slice(0, -SHOWN) : harmless);
  const shown = transactions.filter((transaction) => !left.has(transaction));
  const lines = shown.toReversed().map(transactionLine);
  if (all && left.size > 0) lines.push(h('p', {}, `… and ${left.size} more that look harmless.`));
  byId('transactions').replaceChildren(
    ...(lines.length > 0
      ? lines
      : [
          h(
            'p',
            {},
            all ? 'Nothing was committed in that time.' : 'Nothing in that time looks like a mistake.',
          ),
        ]),
  );
}

/** @param {RescueTransaction} transaction */
function transactionLine({ xid, at, tables, dangers, isReplayed, replaysAt }) {
  const rows = tables.map(
    ({ table, inserted, updated, deleted }) =>
      `${table}${inserted > 0 ? ` +${inserted}` : ''}${updated > 0 ? ` ~${updated}` : ''}${deleted > 0 ? ` -${deleted}` : ''}`,
  );
  const what = dangers.map(({ text }) => text).join('; ');
  const canOpen = phase === 'idle' && !isReplayed;
  return h(
    'li',
    { class: dangers.length > 0 ? 'danger' : null },
    h('time', { datetime: at }, new Date(at).toLocaleTimeString()),
    h('span', {}, String(xid)),
    h(
      'span',
      { class: 'rows' },
      what === '' ? null : h('strong', {}, `${what} `),
      rows.join(', ') || 'definitions',
      replaysAt === null ? null : h('small', {}, ` until ${new Date(replaysAt).toLocaleTimeString()}`),
    ),
    canOpen
      ? button('Stand before it', async () => show(await ask({ kind: 'open', xid })))
      : h('span', {}, isReplayed ? 'too late' : ''),
  );
}

async function look() {
  try {
    await show(await ask({ kind: 'status' }));
  } catch (error) {
    setText(byId('problem'), /** @type {Error} */ (error).message);
  }
  setTimeout(look, LOOK_MS);
}

bindTheme(byId('theme'), () => undefined);
if (key === null)
  setText(
    byId('state'),
    'Open the dashboard by the address that Lockstep printed, and come here from there.',
  );
else {
  byId('all').addEventListener('change', showTransactions);
  byId('since').addEventListener('change', () => attempt(refresh));
  byId('refresh').addEventListener('click', () => attempt(refresh));
  await look();
  await attempt(refresh);
}
