//! `PolicyUpdated` on topic `policies`: what a policy is from now on.

import { z } from "zod";

import { parseData, type Projection } from "../projection.ts";
import { documentId, label, timestamp } from "../text.ts";

export const policiesTopic = "policies";

export const policyUpdated = z.object({
  PolicyId: documentId,
  Name: label,
  Description: label,
  CreatedAt: timestamp,
});

export type PolicyUpdated = z.infer<typeof policyUpdated>;

export const projectPolicyUpdated: Projection = {
  topic: policiesTopic,
  type: "PolicyUpdated",
  project: (event) => {
    const policy = parseData(policyUpdated, event);
    return [{ collection: "policies", id: policy.PolicyId, document: policy, eventId: event.id }];
  },
};
