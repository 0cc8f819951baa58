// Keys, users, agents, the audit, deleted runs and the switch for dials: the routes of docs/http.md, typed.
import { get, type Page, post, type Status } from "../../api";
import type { User } from "../../me";
import type { Place } from "../../project";

export interface Key {
  keyId: string;
  agentId: string | null;
  label: string;
  scopes: string[];
  createdAtMs: number;
  expiresAtMs: number | null;
  revokedAtMs: number | null;
  lastUsedAtMs: number | null;
  projectSlug: string;
}

/** A key with its text, which the server says once. */
export interface NewKey extends Key {
  apiKey: string;
}

export interface Agent {
  agentId: string;
  name: string;
  status: "active" | "revoked";
  createdAtMs: number;
  revokedAtMs: number | null;
}

export interface Invitation {
  user: User;
  url: string;
  expiresAtMs: number;
}

export interface AuditEvent {
  eventId: string;
  createdAtMs: number;
  actorKind: string;
  actorId: string;
  action: string;
  verdict: "allowed" | "denied";
  targetKind: string | null;
  targetId: string | null;
}

export interface DeletedRun {
  runId: string;
  runName: string;
  status: Status;
  startedAtMs: number;
  deletedAtMs: number;
  purgedAtMs: number;
}

export const SCOPES: readonly [scope: string, meaning: string][] = [
  ["metrics:write", "log, start and end runs"],
  ["project:read", "read everything of the project"],
  ["stream:read", "follow it live"],
  ["logs:write", "send log lines as JSON"],
  ["traces:write", "send traces as JSON"],
  ["evals:write", "send evaluations as JSON"],
  ["artifacts:write", "upload and remove artifacts"],
  ["project:write", "edit and delete runs"],
  ["control:write", "turn dials"],
  ["admin", "everything"],
];

const segment = encodeURIComponent;
const inWorkspace = (workspace: string) => `/api/v1/workspaces/${segment(workspace)}`;
const inProject = (workspace: string, project: string) => `${inWorkspace(workspace)}/projects/${segment(project)}`;

export async function projectKeys({ workspace, project }: Place): Promise<Key[]> {
  return (await get<{ keys: Key[] }>(`${inProject(workspace, project)}/api-keys`)).keys;
}

export async function createKey({ workspace, project }: Place, scopes: string[], label: string, expiresAtMs: number | null): Promise<NewKey> {
  return (await post(`${inProject(workspace, project)}/api-keys`, { scopes, label, expiresAtMs })).json();
}

export async function revokeKey(workspace: string, key: Key): Promise<Key> {
  return (await post(`${inProject(workspace, key.projectSlug)}/api-keys/${segment(key.keyId)}/revoke`, {})).json();
}

export async function users(workspace: string): Promise<User[]> {
  return (await get<{ users: User[] }>(`${inWorkspace(workspace)}/users?limit=1000`)).users;
}

export async function createUser(workspace: string, email: string, name: string, role: string): Promise<Invitation> {
  return (await post(`${inWorkspace(workspace)}/users`, { email, name, role })).json();
}

export async function inviteAgain(workspace: string, userId: string): Promise<Invitation> {
  return (await post(`${inWorkspace(workspace)}/users/${segment(userId)}/links`, {})).json();
}

export async function changeRole(workspace: string, userId: string, role: string): Promise<User> {
  return (await (await post(`${inWorkspace(workspace)}/users/${segment(userId)}/role`, { role })).json()).user;
}

export async function removeUser(workspace: string, userId: string): Promise<User> {
  return (await (await post(`${inWorkspace(workspace)}/users/${segment(userId)}/remove`, {})).json()).user;
}

export async function agents(workspace: string): Promise<Agent[]> {
  return (await get<{ agents: Agent[] }>(`${inWorkspace(workspace)}/agents?limit=1000`)).agents;
}

export async function createAgent(workspace: string, name: string): Promise<Agent> {
  return (await post(`${inWorkspace(workspace)}/agents`, { name })).json();
}

export async function revokeAgent(workspace: string, agentId: string): Promise<Agent> {
  return (await post(`${inWorkspace(workspace)}/agents/${segment(agentId)}/revoke`, {})).json();
}

export async function agentKeys(workspace: string, agentId: string): Promise<Key[]> {
  return (await get<{ keys: Key[] }>(`${inWorkspace(workspace)}/agents/${segment(agentId)}/api-keys`)).keys;
}

export async function createAgentKey(
  workspace: string, agentId: string, projectSlug: string, scopes: string[], label: string, expiresAtMs: number | null,
): Promise<NewKey> {
  const body = { projectSlug, scopes, label, expiresAtMs };
  return (await post(`${inWorkspace(workspace)}/agents/${segment(agentId)}/api-keys`, body)).json();
}

export function audit(workspace: string, cursor: string | null, actor: string): Promise<{ events: AuditEvent[]; page: Page }> {
  const query = new URLSearchParams({ limit: "100", ...(cursor && { cursor }), ...(actor && { actorKind: actor }) });
  return get(`${inWorkspace(workspace)}/audit?${query}`);
}

export function deletedRuns(projectId: string, cursor: string | null): Promise<{ runs: DeletedRun[]; page: Page }> {
  return get(`/api/v1/projects/${segment(projectId)}/deleted?${new URLSearchParams({ limit: "200", ...(cursor && { cursor }) })}`);
}

export async function controlState(projectId: string): Promise<boolean> {
  return (await get<{ enabled: boolean }>(`/api/v1/projects/${segment(projectId)}/control`)).enabled;
}

export async function switchControl(projectId: string, enabled: boolean): Promise<void> {
  await post(`/api/v1/projects/${segment(projectId)}/control`, { enabled }, { method: "PUT" });
}

export async function setPassword(password: string, current: string | null): Promise<User> {
  return (await (await post("/api/v1/auth/password", { password, current })).json()).user;
}

export async function logOut(): Promise<void> {
  await post("/api/v1/auth/logout", {});
}
