/** Throw it for a failure that no further try can cure: the job goes to the dead letters at once. */
export class PermanentFailure extends Error {
  override readonly name: string = 'PermanentFailure'
}
