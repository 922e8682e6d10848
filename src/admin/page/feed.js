/** @typedef {import('../../model/topology.ts').Topology} Topology */
/** @typedef {import('../../model/topology.ts').ClusterEvent} ClusterEvent */
/** @typedef {import('../history.ts').HistorySample} HistorySample */
/** @typedef {import('../source.ts').DashboardLinks} DashboardLinks */

/**
 * @typedef {object} Snapshot
 * @property {Topology | null} topology
 * @property {ClusterEvent[]} events
 * @property {HistorySample[]} samples
 * @property {DashboardLinks} links
 * @property {number} now the server's clock
 */

/**
 * @typedef {object} FeedListener
 * @property {(snapshot: Snapshot) => void} snapshot
 * @property {(topology: Topology) => void} topology
 * @property {(event: ClusterEvent) => void} event
 * @property {(sample: HistorySample) => void} sample
 * @property {(lostForMs: number | null) => void} connection null while news arrive, else how long they have not
 */

const LOST_AFTER_MS = 2500;
const RETRY_MS = 1000;

/**
 * Follows the server for as long as the page lives. A sample arrives twice a second, so that silence
 * means a lost connection, also where the browser has not noticed.
 * @param {string} url
 * @param {FeedListener} listener
 */
export function openFeed(url, listener) {
  let heardAt = performance.now();
  let source = connect();

  /** @returns {EventSource} */
  function connect() {
    const next = new EventSource(url);
    for (const kind of /** @type {const} */ (['snapshot', 'topology', 'event', 'sample'])) {
      next.addEventListener(kind, (message) => {
        heardAt = performance.now();
        listener.connection(null);
        listener[kind](JSON.parse(message.data));
      });
    }
    return next;
  }

  let triedAt = performance.now();
  setInterval(() => {
    const now = performance.now();
    if (now - heardAt < LOST_AFTER_MS) return;
    listener.connection(now - heardAt);
    if (now - triedAt < RETRY_MS) return;
    if (source.readyState === EventSource.OPEN && now - heardAt < 3 * LOST_AFTER_MS) return;
    triedAt = now;
    source.close();
    source = connect();
  }, 500);
}
