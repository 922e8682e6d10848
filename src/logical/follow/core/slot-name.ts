/*
 * A follow takes a slot of another name whenever it makes one anew, and when it takes over a follower's copy of one. So a
 * server that led once, with a slot from then, never passes it off as the one that the follow has now: its place in the
 * log may be of a past that is no more.
 */

const OF_A_FOLLOW = /^lockstep_follow(\d*)_([a-z0-9_]+)$/;

/** The first slot of a follow; its publication is called the same. */
export function firstSlot(follow: string): string {
  return `lockstep_follow_${follow}`;
}

/** The slot after this one. */
export function nextSlot(slot: string, follow: string): string {
  const [, generation] = OF_A_FOLLOW.exec(slot) ?? [];
  return `lockstep_follow${generation === undefined || generation === '' ? 2 : Number(generation) + 1}_${follow}`;
}

/** Whether this follow has made the slot, or did once. */
export function isSlotOf(slot: string, follow: string): boolean {
  return OF_A_FOLLOW.exec(slot)?.[2] === follow;
}
