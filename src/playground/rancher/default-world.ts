/** The workplace a pretend Rancher starts with: a shop, a blog and the platform's own containers, with a few that must be refused. */

import type { PeerContainerSpec } from './containers.ts'

export const DEFAULT_WORLD: readonly PeerContainerSpec[] = [
  ...[1, 2, 3].map(
    (n): PeerContainerSpec => ({
      name: `shop-web-${n}`,
      stack: 'shop',
      service: 'web',
      image: 'shop/web:7',
      host: n === 3 ? '1h2' : '1h1',
      labels: { 'com.example.tier': 'web', role: 'web', app: 'shop' },
      healthState: 'healthy',
      logs: [
        { stream: 'stdout', line: 'GET /healthz 200' },
        { stream: 'stderr', line: 'upstream timed out' },
      ],
    }),
  ),
  ...[1, 2].map(
    (n): PeerContainerSpec => ({
      name: `shop-api-${n}`,
      stack: 'shop',
      service: 'api',
      image: 'shop/api:31',
      host: `1h${n}`,
      labels: { 'com.example.tier': 'api', role: 'api', app: 'shop' },
    }),
  ),
  {
    name: 'shop-api-1-metrics',
    stack: 'shop',
    service: 'api',
    sidekick: 'metrics',
    image: 'shop/metrics:2',
    labels: { role: 'sidekick', app: 'shop' },
  },
  {
    name: 'shop-db-1',
    stack: 'shop',
    service: 'db',
    image: 'postgres:9.6',
    host: '1h2',
    labels: { 'com.example.tier': 'db', role: 'db', app: 'shop' },
    privileged: true,
  },
  {
    name: 'blog-web-1',
    stack: 'blog',
    service: 'web',
    image: 'blog/web:3',
    host: '1h2',
    labels: { 'com.example.tier': 'web', app: 'blog', tier: 'canary' },
  },
  {
    name: 'shop-worker-1',
    stack: 'shop',
    service: 'worker',
    image: 'shop/worker:4',
    labels: { role: 'worker' },
    state: 'stopped',
  },
  {
    name: 'shop-worker-2',
    stack: 'shop',
    service: 'worker',
    image: 'shop/worker:5',
    labels: { role: 'worker' },
    state: 'updating-running',
  },
  { name: 'shop-auth-1', stack: 'shop', service: 'auth', image: 'shop/auth:scratch', labels: { role: 'auth' }, shell: false },
  {
    name: 'healthcheck-1',
    stack: 'healthcheck',
    service: 'healthcheck',
    image: 'rancher/healthcheck:v0.3.8',
    labels: { 'io.rancher.container.system': 'true' },
    system: true,
  },
  {
    name: 'rancher-agent',
    image: 'rancher/agent:v1.2.11',
    host: '1h2',
    labels: { 'io.rancher.container.system': 'rancher-agent' },
    system: true,
    privileged: true,
    native: true,
  },
  {
    name: 'deploy-bot',
    image: 'tools/deploy:1',
    labels: { 'io.rancher.container.create_agent': 'true', 'io.rancher.container.agent.role': 'environment' },
  },
  { name: 'billing-web-1', project: '1a7', stack: 'billing', service: 'web', image: 'billing/web:12', labels: { role: 'web' } },
]
