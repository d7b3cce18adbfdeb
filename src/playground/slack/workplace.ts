/** The people, groups and channels of the pretend workplace. */

export type Person = {
  readonly id: string
  readonly name: string
  readonly realName: string
  readonly title: string
  readonly teamId: string
  readonly isStranger?: boolean
  readonly isRestricted?: boolean
  readonly isUltraRestricted?: boolean
  readonly isBot?: boolean
  readonly deleted?: boolean
}

export type Channel = {
  readonly id: string
  readonly name: string
  readonly topic: string
  readonly isPrivate?: boolean
  readonly isExtShared?: boolean
  readonly isArchived?: boolean
  /** A direct message with this person. */
  readonly imWith?: string
  /** Ids of people, and of the bot where it is a member. */
  readonly members: readonly string[]
}

export type UserGroup = { readonly id: string; readonly handle: string; readonly name: string; readonly users: readonly string[] }

export type Workplace = {
  readonly teamId: 'T0PLAY'
  readonly teamName: string
  readonly people: readonly Person[]
  readonly channels: readonly Channel[]
  readonly groups: readonly UserGroup[]
}

export const botUserId = 'U0DROVER'
export const botId = 'B0DROVER'
export const appId = 'A0DROVER'

export const playWorkplace: Workplace = {
  teamId: 'T0PLAY',
  teamName: 'Playground',
  people: [
    { id: 'U0ALEX', name: 'alex', realName: 'Alex', title: 'on call', teamId: 'T0PLAY' },
    { id: 'U0SAM', name: 'sam', realName: 'Sam', title: 'developer', teamId: 'T0PLAY' },
    { id: 'U0KIM', name: 'kim', realName: 'Kim', title: 'works at Acme', teamId: 'T0ACME', isStranger: true },
    {
      id: 'U0GUEST',
      name: 'guest',
      realName: 'Gus',
      title: 'single-channel guest',
      teamId: 'T0PLAY',
      isRestricted: true,
      isUltraRestricted: true,
    },
    { id: 'U0GONE', name: 'gone', realName: 'Robin', title: 'left the company', teamId: 'T0PLAY', deleted: true },
    { id: botUserId, name: 'drover', realName: 'drover', title: 'runs commands', teamId: 'T0PLAY', isBot: true },
  ],
  channels: [
    { id: 'C0OPS', name: 'ops', topic: 'Running the shop', members: ['U0ALEX', 'U0SAM', botUserId] },
    { id: 'C0INC123', name: 'inc-123', topic: 'Checkout is slow', members: ['U0ALEX', 'U0SAM', 'U0GUEST', botUserId] },
    { id: 'C0RANDOM', name: 'random', topic: 'Nothing may run here', members: ['U0ALEX', 'U0SAM', botUserId] },
    {
      id: 'C0SHARED',
      name: 'shared-acme',
      topic: 'With our friends at Acme',
      isExtShared: true,
      members: ['U0ALEX', 'U0SAM', 'U0KIM', botUserId],
    },
    { id: 'C0SECRET', name: 'secret', topic: 'drover is not invited', isPrivate: true, members: ['U0ALEX', 'U0SAM'] },
    { id: 'C0PUBLIC', name: 'lobby', topic: 'Public, drover is not invited', members: ['U0ALEX', 'U0SAM'] },
  ],
  groups: [{ id: 'S0ONCALL', handle: 'oncall', name: 'On call', users: ['U0ALEX'] }],
}
