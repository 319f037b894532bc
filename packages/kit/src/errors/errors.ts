import { defineErrors } from './app-error.ts'

/** Every code that the kit itself can return. Equal to `docs/errors.md`; a test holds them together. */
export const kitErrors = defineErrors({
  E_VALIDATION: { status: 400, title: 'The request does not have the expected shape' },
  E_MALFORMED_REQUEST: { status: 400, title: 'The request is not valid HTTP' },
  E_MALFORMED_BODY: { status: 400, title: 'The body is not valid JSON' },
  E_IDEMPOTENCY_KEY_MISSING: { status: 400, title: 'This request requires an Idempotency-Key header' },
  E_BAD_CREDENTIALS: { status: 401, title: 'The e-mail address or the password is wrong' },
  E_WEBHOOK_SIGNATURE: { status: 401, title: 'The signature of the webhook is not valid' },
  E_NOT_LOGGED_IN: { status: 401, title: 'Not logged in' },
  E_FOREIGN_ORIGIN: { status: 403, title: 'Pages of that origin may not change anything here' },
  E_FORBIDDEN: { status: 403, title: 'This user is not allowed to do that' },
  E_SCOPE: { status: 403, title: 'The token is not allowed to do that' },
  E_NOT_FOUND: { status: 404, title: 'There is nothing here' },
  E_UNKNOWN_FLAG: { status: 404, title: 'There is no such flag' },
  E_METHOD_NOT_ALLOWED: { status: 405, title: 'This address does not support that method' },
  E_REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive completely in time' },
  E_EMAIL_TAKEN: { status: 409, title: 'An account with this e-mail address already exists' },
  E_IDEMPOTENCY_IN_PROGRESS: { status: 409, title: 'The first request with this key is still in progress' },
  E_SESSION_ENDED: { status: 409, title: 'The session of this cookie has ended' },
  E_BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  E_ADDRESS_TOO_LONG: { status: 414, title: 'The address is too long' }, // by NGINX
  E_UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The type of the body is not supported here' },
  E_IDEMPOTENCY_MISMATCH: { status: 422, title: 'This Idempotency-Key was used for another request' },
  E_RATE_LIMITED: { status: 429, title: 'Too many requests' },
  E_TOO_MANY_CONNECTIONS: { status: 429, title: 'This client has too many connections open' }, // also by NGINX
  E_HEADERS_TOO_LARGE: { status: 431, title: 'The headers are too large' },
  E_INTERNAL: { status: 500, title: 'Something went wrong on our side' },
  E_TIMEOUT: { status: 503, title: 'The request took too long and was given up' },
  E_POSTGRES_UNAVAILABLE: { status: 503, title: 'The database cannot be reached in time' },
  E_REDIS_UNAVAILABLE: { status: 503, title: 'Shared state cannot be reached in time' },
  E_STORAGE_UNAVAILABLE: { status: 503, title: 'The file store cannot be reached in time' },
  E_JOB_TOO_NEW: { status: 503, title: 'The job was created by a newer version than its worker' }, // in logs only
  E_PEER_UNAVAILABLE: { status: 503, title: 'A system that this API depends on is failing' },
  E_REPLICA_LOST: { status: 502, title: 'The replica was lost before it responded' }, // this and the next: by NGINX
  E_NO_REPLICA: { status: 503, title: 'No replica can take the request' },
  E_OVERLOADED: { status: 503, title: 'This replica has more work than it can handle' },
})

/** Codes that end a start: they are printed and logged, never sent to a client. */
export const bootErrors = defineErrors({
  E_CONFIG: { status: 500, title: 'The configuration is not valid' },
  E_MODULE: { status: 500, title: 'A module declares something that cannot work' },
  E_PROCESS_SCOPE: { status: 500, title: 'State that lives in one process cannot be used by more than one replica' },
  E_SECRETS_DIFFER: { status: 500, title: 'This replica shares no session secret with the others' },
  E_REDIS_UNSUPPORTED: { status: 500, title: 'This form of Redis is not supported' },
  E_REDIS_PERMISSION: { status: 500, title: 'The Redis user lacks a required permission' },
  E_REDIS_EVICTS: { status: 500, title: 'The Redis that holds state may evict it' },
  E_MIGRATION_FAILED: { status: 500, title: 'A migration failed' },
})
