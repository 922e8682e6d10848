/** @typedef {import('../quorum.ts').QuorumPicture} QuorumPicture */

/**
 * What callers can count on, in one sentence.
 * @param {QuorumPicture} quorum
 * @returns {{ tone: 'good' | 'warn' | 'bad', text: string }}
 */
export function describeQuorum(quorum) {
  const up = quorum.nodes.filter(({ state }) => state === 'up').length;
  const of = `${up} of ${quorum.nodes.length} servers are up`;
  if (!quorum.isFounded) return { tone: 'warn', text: `${of}; nobody has used them yet` };
  if (up === quorum.nodes.length) return { tone: 'good', text: `${of}: every level works` };
  if (quorum.hasQuorum)
    return { tone: 'warn', text: `${of}: "quorum" and compare-and-set work, "all" does not` };
  if (quorum.acceptsWrites) return { tone: 'bad', text: `${of}: only "one" and "accept" work` };
  return { tone: 'bad', text: `${of}: nothing works` };
}

/**
 * Keys that a server may lack, as the others noted them: each key at one of them, or at most at each.
 * @param {QuorumPicture} quorum
 * @param {string} name
 */
export function missingAt(quorum, name) {
  return quorum.nodes.reduce((sum, { hints }) => sum + (hints[name] ?? 0), 0);
}

/**
 * What happened between two looks: servers that went and came, keys that were noted for them and brought over.
 * @param {QuorumPicture} before
 * @param {QuorumPicture} now
 * @returns {string[]}
 */
export function describeRepairs(before, now) {
  return now.nodes.flatMap(({ name, state, problem }) => {
    const earlier = before.nodes.find((node) => node.name === name);
    if (earlier === undefined) return [];
    const lines = [];
    const [lacked, lacks] = [missingAt(before, name), missingAt(now, name)];
    if (earlier.state !== state) {
      if (state === 'up')
        lines.push(lacked > 0 ? `${name} is back; ${keys(lacked)} to bring` : `${name} is back`);
      else if (state === 'refused') lines.push(`${name} is refused: ${problem ?? 'it does not belong here'}`);
      else lines.push(`${name} is gone; what it misses is noted at the others`);
    }
    if (lacks > lacked && state === 'up') lines.push(`${keys(lacks - lacked)} noted for ${name}`);
    if (lacks < lacked) {
      const rest = lacks === 0 ? 'it has all that was noted' : `${lacks} to go`;
      lines.push(`${keys(lacked - lacks)} brought to ${name}; ${rest}`);
    }
    return lines;
  });
}

/** @param {number} count */
function keys(count) {
  return count === 1 ? '1 key' : `${count.toLocaleString('en')} keys`;
}
