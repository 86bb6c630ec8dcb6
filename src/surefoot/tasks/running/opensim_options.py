"""Options of the running task in OpenSim."""

from typing import Literal

from pydantic import Field

from surefoot.tasks.options import TaskOptions


class OpenSimOptions(TaskOptions):
    """Options that the engine `opensim` uses; in MuJoCo they have no effect."""

    opensim_integrator: Literal["SemiExplicitEuler2", "RungeKuttaMerson", "RungeKutta3", "CPodes"] = (
        "SemiExplicitEuler2"
    )
    """OpenSim's integrator; RungeKuttaMerson is OpenSim's own default."""
    opensim_accuracy: float = Field(1e-3, ge=1e-9, le=0.1)
    """Accuracy of OpenSim's integrator. Above 1e-3 it often fails."""
    opensim_minimum_step_s: float = Field(1e-5, ge=0, le=1e-3)
    """Smallest step of OpenSim's integrator, even if its accuracy asks for less, s; 0: none. Without one, the error in
    the contact of the toes can make it take seconds for 10 ms."""
    opensim_model: str = Field("", max_length=1000)
    """File of the OpenSim model, such as gait9dof18musc.osim of osim-rl; empty: built from the same figures."""
    opensim_separate_spheres: bool = False
    """Whether each sphere of a foot has its own contact force. In OpenSim both share one, an error of which takes the
    toes' force away while the heel rises fast."""
    opensim_equilibrium: bool = True
    """Whether fibres and tendons of the muscles start in equilibrium. In the contest they did not."""
    opensim_rebuild_every: int = Field(100, ge=1)
    """Episodes after which OpenSim's model is built again; the memory of older versions grew."""
