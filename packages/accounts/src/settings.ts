import { integer } from '@escala/kit/config/config'

/** Every variable of accounts in the API; `docs/configuration.md` explains each. */
export const accountsSettings = {
  /** Default: a quarter of RATE_LIMIT_PER_MINUTE. */
  LOG_IN_LIMIT_PER_ADDRESS: integer(1, 1_000_000).optional(),
}
