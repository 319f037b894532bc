/** One way to hash passwords; a hash names its own parameters, so that they can be raised. */
export interface PasswordForm {
  /** Whether this form has written the hash, with whatever parameters. */
  matches(hash: string): boolean
  /** Whether the hash has the parameters of today. */
  isCurrent(hash: string): boolean
  hash(password: string): Promise<string>
  verify(password: string, hash: string): Promise<boolean>
  /** A hash that no password has. */
  decoy(): string
}
