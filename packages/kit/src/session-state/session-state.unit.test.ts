import { createMemorySessionState } from './memory.ts'
import { describeSessionState } from './session-state.contract.ts'

describeSessionState('session state in memory', () => {
  const state = createMemorySessionState()
  return [state, state]
})
