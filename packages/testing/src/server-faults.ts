/** What can be done to a server that is a process of this machine. */
export interface ServerFaults {
  /** Ends without warning and starts again at the same address, with what was on its disk or, `empty`, without. */
  crash(options?: { empty?: boolean }): Promise<void>
  /** SIGSTOP for it and its children: what arrives meanwhile is done at `resume`. */
  pause(): Promise<void>
  resume(): Promise<void>
}
