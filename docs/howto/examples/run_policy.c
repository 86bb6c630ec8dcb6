/* Run an exported policy for the task anymal in MuJoCo's C library: a stand-in for a robot's control program.

   run_policy ROBOT.mjb SECONDS [LATENCY_STEPS [SEED]] */

#include <mujoco/mujoco.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy.h"

#define MOST_LATE 100

int main(int count, char **arguments)
{
    if (count < 3) return fprintf(stderr, "usage: %s ROBOT.mjb SECONDS [LATENCY_STEPS [SEED]]\n", arguments[0]), 2;
    mjModel *model = mj_loadModel(arguments[1], NULL);
    if (!model) return fprintf(stderr, "cannot load %s\n", arguments[1]), 1;
    const int joints = (int)model->nv - 6, late = count > 3 ? atoi(arguments[3]) : 0;
    /* The order of the values is a contract: refuse a policy that was trained for another one. */
    if (SUREFOOT_ACTIONS != joints || SUREFOOT_OBSERVATIONS != model->nq - 2 + model->nv || late < 0 || late > MOST_LATE)
        return fprintf(stderr, "the policy or the latency does not fit\n"), 1;
    for (int i = 0; i < joints; i++) {
        const char *name = mj_id2name(model, mjOBJ_ACTUATOR, i);
        if (!name || strcmp(name, surefoot_action_names[i]))
            return fprintf(stderr, "action %d is %s, not %s\n", i, surefoot_action_names[i], name ? name : "?"), 1;
    }
    mjData *data = mj_makeData(model);
    data->qpos[2] = 0.62; /* the robot is set down from a small height */
    srand(count > 4 ? (unsigned)atoi(arguments[4]) : 0);
    for (int i = 7; i < model->nq; i++) data->qpos[i] += 0.05 * (2.0 * rand() / RAND_MAX - 1);
    for (int i = 0; i < model->nv; i++) data->qvel[i] = 0.05 * (2.0 * rand() / RAND_MAX - 1);
    mj_forward(model, data);

    const int substeps = (int)(1 / (SUREFOOT_RATE_HZ * model->opt.timestep) + 0.5);
    static float observation[SUREFOOT_OBSERVATIONS], actions[MOST_LATE + 1][SUREFOOT_ACTIONS];
    const int most = (int)(atof(arguments[2]) * SUREFOOT_RATE_HZ + 0.5);
    int step = 0;
    for (; step < most && data->qpos[2] > 0.3; step++) {
        int n = 0;
        for (int i = 2; i < model->nq; i++) observation[n++] = (float)data->qpos[i];
        for (int i = 0; i < model->nv; i++) observation[n++] = (float)data->qvel[i];
        if (surefoot_policy(observation, actions[step % (late + 1)])) return fprintf(stderr, "not finite\n"), 1;
        const float *action = actions[(step + 1) % (late + 1)]; /* the oldest; 0 at first */
        for (int i = 0; i < joints; i++) data->ctrl[i] = surefoot_offset[i] + surefoot_scale[i] * action[i];
        for (int i = 0; i < substeps; i++) mj_step(model, data);
    }
    printf("%d actions, %.2f s, x %.3f m, height %.3f m\n", step, data->time, data->qpos[0], data->qpos[2]);
    mj_deleteData(data);
    mj_deleteModel(model);
    return 0;
}
