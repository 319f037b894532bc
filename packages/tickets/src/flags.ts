import { defineFlags } from '@escala/kit/flags/flags'

export const ticketFlags = defineFlags({
  salesOpen: { default: true, description: 'Whether tickets can be ordered' },
})
