import type { NodeId, Term } from '../../model/node.ts';

/** What an agent does next, as `decide` says it. */
export type Action =
  /** Take the register, empty or left by an interrupted attempt of this node; the first data folder comes next. */
  | { readonly kind: 'found-cluster' }
  | { readonly kind: 'create-data-folder' }
  /** Start PostgreSQL as a follower of nobody, whatever it was before (I7). */
  | { readonly kind: 'start'; readonly reason: string }
  /** Ends a follower in order; the next round starts it. */
  | { readonly kind: 'restart'; readonly reason: string }
  | { readonly kind: 'clone'; readonly from: NodeId; readonly reason: string }
  | { readonly kind: 'rewind'; readonly from: NodeId; readonly reason: string }
  /** Stop streaming from a node that no longer leads, so that the end of the own log can be told. */
  | { readonly kind: 'detach' }
  | { readonly kind: 'follow'; readonly leader: NodeId; readonly term: Term }
  | { readonly kind: 'campaign'; readonly ground: CampaignGround; readonly reason: string }
  | { readonly kind: 'promote'; readonly term: Term }
  /** Keep slots, sync set and lease of a serving leader in order. */
  | { readonly kind: 'lead' }
  /** A follower that streams: keep the slots that the others need should it lead. */
  | { readonly kind: 'keep-slots' }
  | { readonly kind: 'demote'; readonly reason: string }
  /** This leader should not go on leading: end PostgreSQL, `inOrder` where it may still do so, and give the lease up. */
  | { readonly kind: 'hand-over'; readonly reason: string; readonly inOrder: boolean }
  /** Give the lease up so that another may take it at once. */
  | { readonly kind: 'release'; readonly reason: string }
  /** This node must not take part; its agent ends with the reason. */
  | { readonly kind: 'refuse'; readonly reason: string };

/**
 * What allows an election: the holder gave the lease up, its lease ran out, or enough members have lost it
 * (docs/internals/failover.md). Who led last and stands again needs none of these: it deposes nobody.
 */
export type CampaignGround = 'released' | 'expired' | 'suspected' | 'led-last';
