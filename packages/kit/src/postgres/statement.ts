/** SQL with a name of its own is parsed once per connection. A name must never be used for another text: Postgres refuses that. */
export interface Statement {
  name: string
  text: string
  /**
   * For a read that finds little by an index and locks nothing: it may go over a connection that it shares with others of its kind, and
   * is sent again when that is lost. A slow one would hold up those behind it, so what fills a cache, rare and maybe slow, has its own.
   * Refused for anything but a SELECT without row locks.
   */
  shared?: true
}
