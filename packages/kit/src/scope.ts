/**
 * Who sees what an adapter keeps: this process alone, or every replica.
 * The guard refuses a second replica while any part of any of them is `process`.
 */
export type Scope = 'process' | 'cluster'
