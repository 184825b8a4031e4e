/*
 * The update agent: start, bytes in, answers out.
 *
 * Order:  agent_init, then agent_receive and agent_poll in turns. agent_receive alone may run in an interrupt: it changes
 *         nothing but the frame, and the frame only until a packet is complete.
 * Owner:  the caller owns the agent and its configuration, which stays constant.
 */
#include "ag_server.h"

#include <string.h>

int ag_self_test(ag_agent_t *agent, unsigned slot)
{
    const int result = agent->config->self_test(agent->config->context, slot);
    const int running = slot == agent->boot.running;
    if (running) {
        agent->tested = result == 0;
    }
    if (result != 0 && running && ag_boot_on_trial(&agent->boot)) {
        (void)ag_boot_revert(&agent->boot);
    }
    return result;
}

unsigned agent_init(ag_agent_t *agent, const ag_config_t *config)
{
    memset(agent, 0, sizeof *agent);
    agent->config = config;
    ag_frame_clear(&agent->frame);
    if (!ag_flash_layout_holds(&config->flash.layout)) {
        agent->boot.running = AG_NO_SLOT;
        agent->boot.failed = 1;
        return AG_NO_SLOT;
    }
    ag_boot_start(&agent->boot, &config->flash, &config->device);
    if (ag_boot_on_trial(&agent->boot) && ag_self_test(agent, agent->boot.running) != 0) {
        ag_boot_start(&agent->boot, &config->flash, &config->device);
    }
    return agent->boot.running;
}

int agent_receive(ag_agent_t *agent, uint8_t byte)
{
    return ag_frame_receive(&agent->frame, byte);
}

void agent_poll(ag_agent_t *agent)
{
    const ag_config_t *config = agent->config;
    uint32_t n;
    if (!agent->frame.complete) {
        return;
    }
    n = ag_serve(agent, agent->frame.packet, ag_frame_bytes(&agent->frame));
    ag_frame_clear(&agent->frame);
    if (n != 0u) {
        ag_frame_send(agent->framed, n, config->send, config->context);
    }
    if (agent->reset) {
        agent->reset = 0;
        config->reset(config->context);
    }
}
