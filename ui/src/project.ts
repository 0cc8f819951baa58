// One project, found by its name in the address.
import { ApiError, type Project, projects } from "./api";

export interface Place {
  workspace: string;
  project: string;
}

export async function findProject({ workspace, project }: Place): Promise<Project> {
  const found = (await projects(workspace)).find(({ projectSlug }) => projectSlug === project);
  if (!found) throw new ApiError(404, `There is no project ${project} in ${workspace}, or it is not yours.`, null);
  return found;
}
